"""Common English words by class: verbs in all their forms, nouns, adverbs and particles.

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
_NOUNS = """
accident account acid actor advice afternoon agreement aim air alarm album animal ankle answer ant apple apron arch
area arm army arrow article artist attempt attic audience autumn axe baby bag ball band bank bar bargain basin basket
bath beach bean beard beast beauty bed bee beer bell belt bench bird birth blade blanket blood board boat body bone
book boot border boss bottle bowl branch brass bread breath breeze brick brother brush bucket building bullet bulb bus
bush business butter button cabin cable cake calendar camera candle cap captain carpet cart case cat cattle cause
ceiling cent century chain chair chalk chance chapter cheek cheese chest chicken child chimney choir church circle
circus clay clerk cliff cloth cloud coal coast coat coffee coin collar collection comb comfort committee compass
complaint copper cord cork corn costume cotton couch cough country couple courage course court cousin cow crack cradle
cream creature credit crew crime crop crowd crown cup cupboard curtain curve cushion custom dance danger daughter dawn
day deal death debt decade degree delay dentist dessert diamond dinner dirt discovery dish distance ditch dog dollar
door dozen dress drop drum duck dust duty eagle ear earth earthquake edge education egg elbow elephant enemy engine
envelope error evening event evidence excuse eye face fact factory failure fair family fan farm fashion father feast
feather fever fiddle field finger fish flag flame flesh floor flour flower fly fog folk food foot forest fork fortune
frame freedom friend frog frost fruit fuel fur furniture game garage gas ghost giant gift girl glass glove goal goat
gold goose grain grandmother grape grass gravel ground group guest guitar gun habit hair hammer hand handle harm hat
hay head health heap heart heat height hen hill hole home honey hook horn horse hose hospital host hour house husband
ice idea inch income industry injury ink inn insect interest iron island ivory jacket jail jam jar jaw jelly jewel
joke judge juice jury kettle key king kiss kite knee knife knot lace lady lake lamb land language lawn lead leaf
leather leg legend lemon library lid life lightning limb line lion lip liquid list loaf lock log loss lot luck lunch
machine magazine magic maid mail man manner marble mask mass mast master mattress meal meat medicine member memory
metal middle milk mind minute mirror mist mistake mitten money month mood moon morning mother motion mountain mouse
mouth mud muscle museum music nail name nation neck needle nest net news night noise north nose notebook nut oar oath
ocean office oil onion opinion orange orchard order oven owner page pail pain pair palace pan pants parcel parent park
part partner party passage passenger past paste patch path patience pattern peace peach pear pen pencil people pepper
pet piano picture pie pig pile pillow pin pipe pit plan plane plant plastic plate pleasure plough pocket point poison
police pond pool porch port position pot potato powder prayer present price prison prize profit promise property
punishment purpose purse puzzle quality quarter queen question rabbit race rail rain range rat rate ray reason recess
relation religion request respect rest restaurant reward rhythm rice riddle rifle ring robin rock rod roll room root
rope rose route row rub rug rule ruler rumor sack sail salt sand sauce saw scale scarecrow scene scent school science
scissors sea seashore season seat secret seed servant shade shadow shame shape sheep sheet shelf shelter ship shirt
shock shoe shore shoulder shower sick side sidewalk silk silver sink sister size skate skin skirt sky slave sleet slip
slope smoke snail snake snow soap sock soda sofa son sort soup space spade spark spider sponge spoon spot spring
square squirrel stage stamp star station steam steel stem step stew stick stocking stomach stone stop store story
stove stranger straw stream string structure stuff substance sugar suggestion suit sun surface surprise sweater table
tail talk tank taste tax teacher team temper tendency tent territory test texture theory thing thought thread thrill
throat throne thumb thunder ticket tiger time tin title toad toe tomato tongue tooth top touch town toy trade trail
tray treatment tree trick trip trouble trousers truck trunk tub tunnel turkey turn twig twist umbrella uncle underwear
unit vacation valley value van vase vegetable veil vein verse vessel vest view village violin visitor voice volcano
volleyball wagon waist war wash watch water wave wax way wealth weather week weight wheel whip whistle wilderness wind
wine wing wire wish woman wood wool word work worm wound wren wrist writer year yoke zebra zoo
"""
_PARTICLES = """up out on off over down in at with to from about after by into upon against around through along
among away back behind beneath beside beyond across for near past toward under within"""


@cache
def english_words() -> dict[str, tuple[str, ...]]:
    """Return the words of each class.

    Verbs are ``base``, ``present``, ``past`` and ``participle``, nouns ``thing`` and ``things``; the others are
    ``adverb`` and ``particle``.
    """
    irregular = [verb.split() for verb in _IRREGULAR_VERBS.replace("\n", " ").split(",")]
    regular = [(verb, past := _past(verb), past) for verb in _REGULAR_VERBS.split()]
    verbs = [*irregular, *regular]
    return {
        "base": tuple(verb[0] for verb in verbs),
        "present": tuple(_with_s(verb[0]) for verb in verbs),
        "past": tuple(verb[1] for verb in verbs),
        "participle": tuple(verb[2] for verb in verbs),
        "adverb": tuple(_ADVERBS.split()),
        "thing": tuple(_NOUNS.split()),
        # The few irregular ones do not matter here.
        "things": tuple(_with_s(noun) for noun in _NOUNS.split()),
        "particle": tuple(_PARTICLES.split()),
    }


@cache
def common_words() -> frozenset[str]:
    """Return the words of all classes."""
    return frozenset(word for words in english_words().values() for word in words)


def _ends_in_consonant_y(verb: str) -> bool:
    return verb.endswith("y") and verb[-2] not in "aeou"


def _with_s(word: str) -> str:
    """Return the present of a verb, or the plural of a noun."""
    if _ends_in_consonant_y(word):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "z", "ch", "sh", "o")) else f"{word}s"


def _past(verb: str) -> str:
    if _ends_in_consonant_y(verb):
        return f"{verb[:-1]}ied"
    return f"{verb}d" if verb.endswith("e") else f"{verb}ed"
