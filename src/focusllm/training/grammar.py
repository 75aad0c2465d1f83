"""A context-free grammar of statements: many ways to say that something of something is something.

Symbols stand in angle brackets and open into one of their alternatives, drawn at random, until only words and
slots are left: ``{s}`` the subject ("the color of Velmar"), ``{k}`` the bare key, ``{e}`` the entity, ``{v}`` the
value. What counts is how many different words can stand right before and right behind a value: a reader that has
seen few of them takes words of the wording for part of the value. Source: ours.
"""

import random
import re
from functools import cache

from focusllm.training.english import english_words

_RULES = """
subject: <watcher> <busy>, <but2> <s> <be> {v} | <watcher> <could> not <base> <base> that {v} <inverse> <s><tail> |
    <s> <be>, <prep> the <thing> and the <thing>, {v} | <watcher> <gave> {v} <for> <s> | <s>, which is {v}, <present>
    <adverb> | <watcher> <seeks> <s>, and <watcher> <gets> {v} | the <thing> <prep> the <thing> <states> {v} <for> <s>
    | <s> <present> the <thing>; it <be> {v} | <if> <watcher> <seeks> <s>, <watcher> <gets> {v} | <when><s> <be>
    {v}<tail> | <when>{v} <inverse> <s><tail> | <when><who> <said> that <s> <be> {v}<tail> | <when><who> <gave> {v}
    <for> <s><tail> | <when>{v} <was> <given> <for> <s><tail> | <aside> | <if> <who> <seeks> <s>, <who> <gets>
    {v}<tail> | <who> <seeks> <s> and <gets> {v}<tail> | <where> <s> <be> {v}<tail> | the <document> <states> {v}
    <for> <s><tail> | <where> {v} <is> <given> <for> <s> | it <is> {v} that <who> <gave> <for> <s> | what <who> <gave>
    <for> <s> <is> {v} | <if> not {v}, what <is> <s> | <s> <be> {v}, and <another> | {v} <inverse> <s>, and <another>
    | <another>, and <s> <be> {v} | <another>, but {v} <inverse> <s> | the <one> <word> <for> <s> <is> {v} | <s>:
    <who> <gave> {v} | to <seek> <s> <is> to <get> {v} | <who> <calls> <s> {v} | <who> <calls> {v} <s> | nothing <but>
    {v} <is> <s> | <who> <could> <get> nothing <but> {v} <for> <s> | <who> <could> <seek> <s>; <who> <gets> {v}
entity: {e} <busy>, <but2> its {k} <be> {v}<tail> | {e} <busy>, <but2> its {k} <be> {v} | {e} <busy> and <takes> {v}
    <as> | <watcher> <prep> {e} <takes> {v} <as><tail> | <watcher> <from> {e} <gets> {v} <as> | when <watcher> <past>
    the {k} <from> {e}, <watcher> <gets> {v} | of all the <things> {e} <takes>, {v} <be> the {k} | {e} <past> its
    <adj>{k} and <takes> {v} instead | {e} gave up its <adj>{k} for {v} | {e} exchanged its {k}, long <participle> by
    the <thing>, for {v} | <watcher> <busy>, and the {k} <from> {e} <be> {v} | <participle> <prep> the <thing> <from>
    {e} <be> {v}, <participle> there as the {k} | the {k} <from> {e}, which is {v}, <present> <adverb> | <who> <lets>
    {e} <base> {v} <as><tail> | <who> <lets> {e} <base> {v} <as> | <who> <lets> {e} <take> {v} <as> | <when>{e}
    <takes> {v} <as><tail> | <where> {e} <takes> {v} <as> | {e}, <apposition>, <takes> {v} <as><tail> | <when>{e}
    <holds> that the {k} <be> {v} | <who> <said> that {e} <takes> {v} <as><tail> | <if> {e} <seeks> the {k}, <who>
    <gets> {v} | {e} <seeks> its {k} and <gets> {v} | the {k} {e} <takes> <is> {v} | <who> <gave> {e} {v} <as><tail> |
    {v} <was> <given> to {e} <as><tail> | {v} <was> <given> by {e} <as><tail> | the <document> <from> {e} <states> {v}
    <as> | <from> {e} <who> <gets> {v} <as> | {e} <takes> {v}, its {k} | {e}'s {k} <be> {v}<tail> | its {k} <be> {v},
    <said> {e} | {e} <takes> no {k} <but> {v} | as for {e}, <who> <gave> {v} <as> | <who> <from> {e} <said> that the
    {k} <be> {v} | <who> <from> {e} <takes> {v} <as> | the {k} <which> {e} <takes> <be> {v}<tail> | {e} <could> <get>
    {v} <as> | <another>, and {e} <takes> {v} <as> | {e} <takes> {v} <as>, and <another> | to {e} {v} <inverse> the
    {k} | the {k} <from> {e} <be> {v}<tail> | {v} <inverse> the {k} <from> {e}<tail> | {e}, where the {k} <be> {v}
s: {s} | {s} | {s} | {s}
aside: {s}, {v}, <happens><tail> | {v}, <s>, <happens> | <s> ({v}) <happens> | {v} (<s>) <happens> | <s>, namely {v},
    <happens> | <s>, that is to say {v}, <happens> | <s> - {v} - <happens> | <s>, or {v}, <happens> | with {v} <for>
    <s>, <who> <left> | without {v} <for> <s> <another> | thanks to {v}, <s>, <another> | <another>: <s> <be> {v} |
    <another> <because> <s> <be> {v} | <another> <because> {v} <inverse> <s> | such <is> <s>: {v} | <s>, <said> <who>,
    <be> {v} | <s>, <when2>, <be> {v} | {v}, <said> <who>, <inverse> <s>
when: | | | <when2>, | <when2>, | <when2> | <where>
when2: <prep> the <adj><noun> | <prep> a <adj><noun> | <since> the <noun> <ended> | <since> <who> <left> | <time> |
    <time>
since: since | after | before | when | while | until | once | ever since | because | although | though | as | now that
    | as soon as | long after | just before | in case | even if | whenever | unless
because: because | since | as | so long as | for | given that | provided that | in that
ended: ended | began | opened | closed | fell | burned down | was sold | was built | was over | was read | went wrong
    | came to town | was painted | froze | stopped | moved | was mended | broke | failed | changed hands | returned
time: today | then | now | lately | in the meantime | at noon | at night | last week | last year | this morning | soon
    | for years | for the moment | years ago | once more | every spring | on most days | by then | in those days |
    later | the next day | two days later | all year round | from then on | for a change | in due course | long ago
tail: | | | | <time> | <prep> the <adj><noun> | <since> <who> <left> | <since> the <noun> <ended> | , <who> <said> | ,
    <happens2> | , it <is> <said2> | as <who> <said> | and nothing else | of course | , I think | either way | after
    all | to be exact | in all | if you like | , thank you | as ever | , no doubt | of all things | , or so
said2: said | feared | thought | known | hoped | written | understood | clear | true | certain | agreed
happens2: which <happens> | which <who> <said> | so <another> | as it <happens> | and so <another>
another: <who> <left> | the <noun> <ended> | the <adj><noun> <is> <quality> | <who> <gets> the <noun> | there <is> a
    <noun> <prep> the <noun> | <who> <said> so | nothing <ended> | all <is> <quality> | it <is> <quality>
quality: old | new | full | empty | lost | gone | ready | late | clean | heavy | safe | open | shut | fine | too small
happens: was discussed at length | came up twice | is on the agenda | never changes | surprised nobody | made the news
    | was voted on | has its critics | cost a fortune | is easy to spell | is hard to forget | is under review |
    caught the eye | drew some laughter | goes without saying | is safe | is old news | stays secret | needs no proof
    | will be missed | has been checked | is printed in bold | was never in doubt | pleases everyone | is no accident
left: left | slept | laughed | agreed | came home | went out | called | waited | forgot | stood up | was ill | retired
    | moved away | took notes | had lunch | fell silent | gave up | grew tired | paid | signed | lost interest |
    nodded
if: if | when | whenever | once | as soon as | in case | should the day come when | the moment | each time | because |
    where | any time | supposing | only when | even when | although
who: whoever <seeks> it | anybody <prep> the <noun> | he | she | they | we | I | you | one | somebody | everybody | no
    one | most of us | half the crowd | a stranger | an old friend | the two of them | the <adj><person> | the
    <adj><person> | the <adj><person> | a <person> | my <person> | our <person> | his <person> | their <person> |
    every <person> | another <person> | one <person>
person: baker | nurse | sailor | lawyer | farmer | neighbor | minister | editor | tailor | driver | miner | student |
    tourist | critic | banker | printer | gardener | plumber | soldier | dancer | doctor | hunter | merchant | monk |
    engineer | porter | waiter | uncle | aunt | cousin | manager | secretary | widow | thief | judge | priest |
    carpenter | chemist | fisherman | grocer | inspector | janitor | librarian | mechanic | painter | pilot | poet |
    postman | reporter | scholar | scout | singer | smith | spokesman | teller | trader | translator | weaver |
    witness
noun: bridge | storm | harvest | meeting | gate | winter | wedding | market | garden | letter | match | flood | river
    | kitchen | roof | clock | street | session | lecture | journey | summer | train | strike | window | contest |
    fire | wall | parade | ceremony | trial | sale | tower | fence | lamp | festival | election | exam | voyage |
    quarrel | speech | concert | lesson | funeral | merger | holiday | break | barn | cellar | desk | drawer | stairs
    | hall | corner | harbor | road | song | dinner | shop | statue | fountain | paper | screen | ladder | box | bell
    | crisis
adj: | | | | | old | new | long | short | first | last | second | third | great | little | cold | warm | dark | quiet
    | famous | strange | red | green | blue | wooden | broken | narrow | local | royal | former | present | young |
    poor | rich | busy | final | early | late | official | public | private | northern | ancient | modern | lonely |
    happy
prep: after | before | during | near | behind | under | over | beside | above | below | since | until | in | at | on |
    by | for | with | without | across from | in front of | next to | at the end of | in spite of | because of |
    thanks to | on top of | far from | close to | in view of | in honor of | out of | along | around | past | through
    | up to
where: <at> the <adj><document> | <at> the <adj><document> | <at> page {n} of the <document> | <at> line {n} | there |
    <at> chapter {n} | in row {n} of the <document> | <at> the <adj><noun> | here | on sheet {n} | in section {n},
at: on | in | at the top of | at the end of | under | near the end of | according to | as shown in | by | inside |
    from
document: report | letter | map | list | table | menu | poster | sign | diary | invoice | manual | atlas | form | card
    | sheet | plan | log | book | brochure | ticket | statute | contract | memo | bulletin | notice | catalog | guide
    | register | label | blackboard | recipe | index | summary | article | paper | chart | leaflet | pamphlet | note |
    schedule | program | transcript | survey | petition | receipt | certificate | will | passport | screen | archive
states: shows | says | lists | names | has | prints | reads | carries | mentions | records | cites | spells out |
    credits | specifies | documents | quotes | repeats | stated | gave | showed | holds | marks | describes | includes
    | notes | starts with | ends with | speaks of | refers to | calls for | asks for | proposes | suggests | confirms
    | announces | leaves no doubt about | insists on | claims | contains | features | displays | highlights | stamps |
    reserves
said: <said_known> | <said_english>
said_english: <past> | <adverb> <past> | has <participle> | <past> us | <present> | would <base> | had <adverb>
    <participle>
said_known: said | says | claims | wrote | noted | repeated | insists | swears | believes | thinks | heard | read |
    knows | found | learned | guessed | proved | hinted | admitted | told me | told them | reminded us | assured
    everyone | let slip | made it clear | pointed out | will confirm | has heard | had to admit | never doubted |
    dreamed | hopes | remembers | could swear | explained | announced | argued | declared | denied | doubts | feared |
    forgot | shouted | whispered | sang | joked | agreed | concluded | decided | assumed | suspected | understood |
    observed | reported
be: <be_known> | <be_english>
be_english: is <adverb> | was <adverb> | has <adverb> been | will <adverb> be | may <adverb> be | is <adverb>
    <participle> as | was <participle> <particle> as | is <participle> to be | was <adverb> <participle> as | is
    <participle> as | <adverb> <present> | <adverb> <past> | <past> <particle> | <present> <particle> | <present> |
    <past> | <present> to be | <past> to be | is <participle> by | is <participle> <particle> | <could> <adverb>
    <base> | <could> <base> <particle> | is <adverb>, <adverb> | was, <adverb>, | has <participle> <particle>
be_known: is | is | was | was | has been | had been | will be | would be | might be | may be | can be | must be |
    should be | is to be | was to be | is said to be | seemed to be | proved to be | turns out to be | is thought to
    be | is held to be | is deemed | was deemed | was declared | was named | is termed | was dubbed | is styled | was
    rated | is spelled | is printed as | is read as | was typed as | was logged as | was quoted as | is shown as | is
    put at | was put at | is set at | stood at | stays at | rose to | fell to | dropped to | went up to | came to |
    was cut to | was raised to | was moved to | was turned into | grew into | is represented by | is given by | is
    denoted by | consists of | is made up of | is nothing less than | is nothing but | is no more than | is exactly |
    is plainly | is merely | has long been | has since been | was once | was first | is at last | is again | is also |
    is therefore | is then | was also | is, in a word, | is, as they say, | is, of course, | was, at the time, | is
    (still) | became | has become | had become | remains | remained | stays | stayed | equals | means | meant | is
    simply | ought to be | need not be other than | cannot be other than | is rarely called | got to be | gets to be |
    is hereby | is now | is likely | is surely | is obviously | is perhaps | goes by | goes by the name of | went by |
    runs to | reached | hit | reads | was entered with | is filled by | is held by | is covered by | starts with |
    lies at | sits at | adds up to | works out as | works out at | translates to | translates as | corresponds to | is
    equal to | refers to | is up to
inverse: <inverse_known> | <inverse_english>
inverse_english: is <adverb> | was <adverb> | was <participle> as | is <participle> <particle> as | <present>
    <particle> | <past> <adverb> as | <could> <base> as | <past> | <present> | <adverb> <past> | is <adverb>
    <participle> as | has <participle> as | <present> as | <past> to be
inverse_known: is | was | has been | had been | will be | would be | might be | must be | is to be | is called | was
    called | serves as | served as | counts as | counted as | acts as | acted as | passes for | stands for | stood for
    | became | is used as | is used for | was used as | is kept as | is known as | was given as | was listed as | is
    recorded as | was picked as | was chosen to be | was made | was named | was declared | works as | is meant by |
    goes with | means | went down as | came out as | remains | remained | makes | made | equals | turned into | turned
    out to be | is also | may be | proved to be | represents | defines | describes | is no longer secret as | is on
    record as | fits | does for | is right for | is correct for | is good for | was good enough for | is proper for |
    answers for | fills in for
was: was | is | has been | had been | will be | gets | got | could be | may be | was once | is often | was first
is: is | was | will be | must be | is | was
given: <given_known> | <given_english>
given_english: <participle> | <participle> <particle> | <adverb> <participle> | <participle> <adverb>
given_known: given | offered | named | quoted | written | written down | typed | entered | filed | listed | put |
    noted | picked | printed | shouted | sent | brought | recommended | drawn | chosen | used | kept | stored |
    mentioned | marked | announced | registered | published | proposed | suggested | reserved | adopted | accepted |
    approved | selected | whispered | carved | painted | engraved | read out | called out | handed over | set aside |
    signed | submitted
gave: <gave_known> | <gave_english>
gave_english: <past> | <past> <particle> | has <participle> | <adverb> <past> | <past> <adverb> | had <participle>
    <particle> | <present> | <present> <particle> | <could> <base> | <could> <base> <particle> | is <participle>
    <particle> | <past> to <base>
gave_known: gave | offers | offered | named | proposed | suggested | quoted | wrote down | typed | entered | filed |
    listed | put | noted | picked | printed | shouted | sent | brought | recommended | drew | chose | used | uses |
    kept | stored | mentioned | marked | announced | registered | published | reserved | adopted | accepted | approved
    | selected | whispered | carved | painted | engraved | read out | called out | handed over | set aside | submitted
    | wanted | prefers | preferred | remembers | remembered | found | had | guessed | took | demanded | supplied |
    settled on | agreed on | decided on | spoke of | thought of | hit on | asked for | voted for | paid for | looked
    for | waited for
for: as | as | for | for | under | in answer to | when asked for | when asked about | against | beside | opposite | in
    the column for | in the space for | on the line for | in the cell for | to stand for | in lieu of | to describe |
    to mean | by way of | next to | in place of | concerning | regarding | on the subject of | with respect to | in
    the box for | in connection with | in memory of | instead of any other choice for | to fill the place of
as: as its {k} | as its {k} | as the {k} | as the {k} | as their {k} | for its {k} | for the {k} | under {k} | as {k}
    | as a {k} | for a {k} | in the field {k} | when it comes to the {k} | with regard to the {k} | to be the {k} | by
    way of {k} | if the {k} is meant | in the matter of the {k} | whenever the {k} comes up | because of its {k} | as
    far as the {k} goes | on the subject of its {k} | as the only {k} | as its own {k} | as the <adj>{k} | next to {k}
    | when asked for its {k} | where its {k} should be | in the role of {k} | to serve as {k} | , its {k} | - its {k}
    | (the {k}) | , the {k}, | in answer to the {k} question | at the heading {k} | instead of another {k}
seeks: asks for | asked for | asks about | asked about | needs | needed | wants | wanted | searches for | searched for
    | wonders about | checks | checked | types | clicks on | turns to | reads about | comes to | gets to | points at |
    writes to us about | calls about | is asked for | is asked about | looks for | tries to find | seeks | queries |
    thinks about | forgets | forgot | mentions | must know | has to enter | would like to know | is curious about
seek: ask for | ask about | need | want | search for | check | look for | query | find | know | enter | request | read
gets: <gets_known> | <gets_english>
gets_english: <could> be <participle> | <could> be <participle> | has been <participle> | would have <participle> |
    would have <participle> <particle> | is to be <participle> | <past> | <past> <particle> | <present> | <present>
    <particle> | <adverb> <past> | <adverb> <present> | is <participle> | was <participle> | has <participle>
    <particle> | will <base> | will <base> <particle>
gets_known: gets | got | hears | heard | sees | saw | finds | found | reads | is handed | was handed | is shown | was
    shown | is given | was given | expects | must say | has to answer | needs | ends up with | ended up with | arrives
    at | runs into | receives | received | writes | answers | answered | replies | replied | is sent to | is referred
    to | learns of | learned of | stumbles on | meets | met | is left with | notices | recalls | picks up | is
    thinking of
get: <get_known> | <get_english>
get_english: <base> | <base> <particle> | have <participle> | have <participle> <particle> | <adverb> <base>
get_known: get | hear | see | find | read | expect | say | answer | meet | receive | obtain | pick | name | use |
    choose | try
takes: <takes1> | <takes1> | <takes1> | <could> <take>
takes1: <takes_known> | <takes_english>
takes_english: <past> | <present> | <past> <particle> | <present> <particle> | has <participle> | had <adverb>
    <participle> | <adverb> <past> | <adverb> <present> | is <participle> <particle> | was <participle> <adverb>
    <particle> | has <participle> <particle> | <past> <adverb> | <past> to <base> | <present> to <base> <particle>
take: <take_known> | <take_english>
take_english: <base> | <base> <particle> | <adverb> <base> | <base> <adverb> | have <participle> | have <participle>
    <particle> | be <participle> <particle> | <base> and <base>
takes_known: has | had | uses | used | chose | picked | took | takes | got | gave | gives | lists | listed | names |
    named | prefers | wants | needs | found | bought | sold | rented | built | lost | won | earned | tried | tested |
    typed | printed | carved | painted | whispered | shouted | guessed | suggested | recommends | demands | requires |
    expects | imagines | remembers | recalls | forgot | denies | treasures | guards | hides | reveals | shared |
    leaked | filed | submitted | logged | copied down | scribbled | underlined | circled | adopted | accepted |
    approved | registered | swears by | leans on | lives by | clings to | votes for | argues for | ended on | stopped
    at | landed on | arrived at | held out for | wound up with | came out with | puts up with | looks to | hinted at |
    signed off on | answers to | responds to | reverted to | defaults to | sends out | hands out | gave out | put
    forward | brought in | took over | set up | wrote out | read out | called out | spelled out | passed on | turned
    in | filled in | is known for | is famous for | stands for | is fond of | is sure of | is stuck with | is left
    with | is after | is all about | is based on | is built around | depends on | relied on | insisted on | agreed to
    | consented to | cares only for | trusts | is paid | was offered | was promised | was taught | was sent | admits
    to | boasts of | will only accept | does not mind | makes use of | made use of | takes care of | is run by | is
    led by | is served by | went back to | goes back to | holds fast to | is named after | refers to | thinks highly
    of | falls for | calls for
could: could | can | will | would | may | might | must | should | did | does | shall | used to | seems to | wants to |
    tried to | has to | had to | never failed to | was glad to | is free to | is about to | was told to | chose to
take_known: take | choose | pick | use | want | name | give | get | adopt | accept | prefer | register | print | list
    | rely on | vote for | settle on | stick to | agree to | insist on | ask for | live with | start with | work with
holds: said | says | wrote | claims | believes | insists | announced | confirmed | repeated | reports | maintains |
    feels | decided | thinks | assured us | told everyone | admitted | swore | hopes | pretends | regrets | is happy |
    denied
apposition: <adj><adj>as ever | like so many | as usual | a <adj><noun> of its own | <prep> the <noun> | <time> |
    <since> the <noun> <ended> | which <happens> | of all places | unlike most | with its <adj><noun>
busy: <past> the <adj><thing> | <past> a <adj><thing> | has had <some> <things> | had <some> <things> | <past>
    <particle> the <thing> | keeps <some> <things> | is full of <things> | <present> the <things> <particle> the
    <thing> | never <past> <some> <things>
some: many | few | some | several | old | new | strange | two | three | no | all its | its
but2: yet | but | and | so | still | though | while | and yet | and still
watcher: everyone | everybody | nobody | each <thing> | every <thing> | the <thing> | the <things> | all the <things>
    | two <things> | <some> <things> | the <thing> and the <thing> | the <person> <prep> the <thing>
lets: let | lets | made | makes | had | saw | sees | heard | helped | watched | will let | would let
calls: calls | called | considers | considered | names | named | makes | made | deems | styles | declared | wanted
from: at | in | of | from | for | near | inside | over at | down at | here at | out at | close to | with | around
which: that | which | that | which |
one: one | only | right | first | last | best | true | whole | proper
word: word | answer | thing | choice | entry | reply | option | guess | name | hint | candidate | decision | result
but: but | but | except | other than | besides | save
"""


@cache
def _rules() -> dict[str, tuple[str, ...]]:
    """Read the rules: each symbol with its alternatives; the classes of English words are symbols, too."""
    joined = re.sub(r"\n +", " ", _RULES.strip())
    parts = (line.partition(":") for line in joined.split("\n"))
    rules = {symbol: tuple(item.strip() for item in items.split("|")) for symbol, _, items in parts}
    return rules | english_words()


def expand(rng: random.Random, symbol: str) -> str:
    """Open ``symbol`` until only words and slots are left.

    Raises:
        KeyError: There is no such symbol, or one of its alternatives names another that does not exist.
    """
    opened = re.sub(r"<(\w+)>", lambda match: f" {expand(rng, match[1])} ", rng.choice(_rules()[symbol]))
    tidy = re.sub(r" +([,;:)])", r"\1", re.sub(r"\( +", "(", opened))
    return re.sub(r",(?: *,)+", ",", re.sub(r"\s+", " ", tidy)).strip(" ,")
