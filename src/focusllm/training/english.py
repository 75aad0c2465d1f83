"""Common English words by class: the verbs in all their forms, adverbs and particles.

A reader tells a value of plain words from the wording around it only if it knows the wording's words. The
grammar of statements puts these into its places, and values are rarely drawn from them. Source: ours.
"""

from functools import cache

# What evaluation puts between a value and whatever stands before it, two words at most. Training never does: its
# words are known from elsewhere.
HELD_OUT_LEADS = frozenset(
    ("be told", "gone for", "always been", "appears as", "still keeps", "have", "only be", "come across", "amounts to",
     "honors", "pointed to")
)  # fmt: skip
_IRREGULAR_VERBS = """
appear appeared appeared, bear bore borne, beat beat beaten, become became become, begin began begun, bend bent bent,
bid bid bid, bind bound bound, bite bit bitten, blow blew blown, break broke broken, breed bred bred, bring brought
brought, build built built, burst burst burst, buy bought bought, cast cast cast, catch caught caught, choose chose
chosen, cling clung clung, come came come, creep crept crept, cut cut cut, deal dealt dealt, dig dug dug, do did done,
draw drew drawn, dream dreamt dreamt, drink drank drunk, drive drove driven, eat ate eaten, fall fell fallen, feed fed
fed, feel felt felt, fight fought fought, find found found, flee fled fled, fling flung flung, fly flew flown, forbid
forbade forbidden, forget forgot forgotten, forgive forgave forgiven, get got got, give gave given, go went gone,
grind ground ground, grow grew grown, hang hung hung, have had had, hear heard heard, hide hid hidden, hit hit hit,
hold held held, hurt hurt hurt, keep kept kept, know knew known, lay laid laid, lead led led, lean leant leant, learn
learnt learnt, leave left left, lend lent lent, let let let, lie lay lain, light lit lit, lose lost lost, make made
made, mean meant meant, meet met met, mistake mistook mistaken, pay paid paid, put put put, read read read, ride rode
ridden, ring rang rung, rise rose risen, run ran run, say said said, see saw seen, seek sought sought, sell sold sold,
send sent sent, set set set, shake shook shaken, shine shone shone, shoot shot shot, show showed shown, shut shut
shut, sing sang sung, sink sank sunk, sit sat sat, sleep slept slept, slide slid slid, speak spoke spoken, spend spent
spent, spin spun spun, split split split, spread spread spread, spring sprang sprung, stand stood stood, steal stole
stolen, stick stuck stuck, sting stung stung, strike struck struck, swear swore sworn, sweep swept swept, swim swam
swum, swing swung swung, take took taken, teach taught taught, tear tore torn, tell told told, think thought thought,
throw threw thrown, understand understood understood, wake woke woken, wear wore worn, weave wove woven, win won won,
wind wound wound, withdraw withdrew withdrawn, write wrote written, foresee foresaw foreseen, overhear overheard
overheard, uphold upheld upheld, undertake undertook undertaken
"""
# Verbs whose forms are made by rule; those that would double their last letter are left out.
_REGULAR_VERBS = """
accept achieve acquire act address admire adopt advise agree aim allow amount announce answer apply appoint approve
argue arrange arrive ask assign assume attach attempt attend avoid await award believe belong blame borrow call cancel
care carry celebrate change charge chase check claim clean clear climb close collect combine compare compete complain
complete compose concern conclude confess confirm connect consider consist consult contain continue convert convince
copy correct count cover create cross cry damage dance dare decide declare defend define deliver demand deny depend
describe deserve desire destroy detect develop devote differ direct disagree discover discuss divide doubt dress earn
elect employ enable encourage endorse enforce enjoy enter escape establish estimate examine exchange exclude excuse
exist expand expect explain explore express extend face fail favor fear feature fetch fill finance finish fit fix
float follow force form found frame function gain gather govern grant greet guarantee guard guess guide handle happen
hate head help hire honor hope hunt identify ignore illustrate imagine imply import improve include increase indicate
influence inform inherit inspect inspire install intend introduce invent invest invite involve issue join judge jump
justify kick kill knock label lack land last laugh launch lift like limit link list listen live load locate look love
maintain manage mark marry match matter measure mention mind miss mix monitor move name need note notice observe
obtain occupy occur offer open operate order organize owe own pack paint pass perform permit phone pick place play
point please possess pour praise prefer prepare present preserve press pretend prevent print proceed produce promise
promote propose protect prove provide publish pull punish purchase push qualify question quote raise reach realize
recall receive recognize recommend record recover reduce refuse regard register reject relate release rely remain
remember remind remove rename rent repair repeat replace reply report represent request require rescue reserve resist
resolve respect respond rest restore retain retire return reveal reward rule rush sail satisfy save scream search
select separate serve settle shape share shout sign signal smell smile solve sound spell start state stay store
stretch study submit succeed suffer suggest suit supply support suppose surprise surround survive suspect switch talk
taste thank touch trace track trade train transfer transform translate travel treat trust try turn type unite urge use
value vary view visit vote wait walk want warn wash waste watch welcome whisper wish witness wonder work worry yield
"""
_ADVERBS = """
abroad absolutely accidentally accordingly actually afterwards ago ahead alike almost alone already altogether always
amply annually anyway apparently approximately aptly arguably aside automatically awhile badly barely basically
beautifully boldly bravely briefly brightly broadly calmly carefully casually certainly cheaply cheerfully chiefly
clearly closely commonly completely consequently consistently constantly correctly curiously daily deeply definitely
deliberately differently directly doubtless duly eagerly easily effectively elsewhere entirely equally especially
essentially even eventually evidently exactly exclusively explicitly expressly fairly faithfully famously fast finally
firmly first fondly forever formally formerly fortunately forth frankly freely frequently fully generally gently
gladly gradually greatly halfway happily hardly hastily hence henceforth highly honestly however ideally immediately
implicitly indeed informally initially instantly instead internally invariably ironically jointly just kindly largely
lastly lately later legally lightly likewise literally locally long loosely loudly luckily mainly maybe meanwhile
merely mostly mutually naturally nearly neatly needlessly never nevertheless next nicely nobly normally notably
nowadays obviously occasionally oddly officially often once only onwards openly ordinarily originally otherwise
overnight partly perfectly permanently personally plainly politely possibly practically precisely presently presumably
previously primarily principally privately probably promptly properly proudly publicly purely quickly quietly quite
rarely rather readily really reasonably recently reluctantly remarkably repeatedly reportedly respectively rightly
roughly routinely sadly safely seldom seriously sharply shortly silently similarly simply simultaneously sincerely
slightly slowly smoothly so softly solely solemnly sometimes somehow somewhat soon specifically steadily still stoutly
strangely strictly strongly stubbornly subsequently successfully suddenly supposedly surely surprisingly swiftly
technically temporarily thankfully thereafter thereby therefore thoroughly though thus tightly today together tomorrow
tonight too totally traditionally truly twice typically ultimately unanimously undoubtedly unexpectedly unfortunately
universally unofficially unusually upstairs usually utterly vaguely variously very virtually warmly weekly well widely
willingly wisely wrongly yearly yesterday yet
"""
_PARTICLES = """up out on off over down in at with to from about after by into upon against around through along
among away back behind beneath beside beyond across for near past toward under within"""


@cache
def english_words() -> dict[str, tuple[str, ...]]:
    """Return the words of each class: ``base``, ``present``, ``past``, ``participle``, ``adverb``, ``particle``."""
    irregular = [verb.split() for verb in _IRREGULAR_VERBS.replace("\n", " ").split(",")]
    regular = [(verb, past := _past(verb), past) for verb in _REGULAR_VERBS.split()]
    verbs = [*irregular, *regular]
    return {
        "base": tuple(verb[0] for verb in verbs),
        "present": tuple(_present(verb[0]) for verb in verbs),
        "past": tuple(verb[1] for verb in verbs),
        "participle": tuple(verb[2] for verb in verbs),
        "adverb": tuple(_ADVERBS.split()),
        "particle": tuple(_PARTICLES.split()),
    }


@cache
def common_words() -> frozenset[str]:
    """Return the words of all classes."""
    return frozenset(word for words in english_words().values() for word in words)


def _ends_in_consonant_y(verb: str) -> bool:
    return verb.endswith("y") and verb[-2] not in "aeou"


def _present(verb: str) -> str:
    if _ends_in_consonant_y(verb):
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else f"{verb}s"


def _past(verb: str) -> str:
    if _ends_in_consonant_y(verb):
        return f"{verb[:-1]}ied"
    return f"{verb}d" if verb.endswith("e") else f"{verb}ed"
