"""The wordings of facts: lists of parts, put together at random. Data, and one function.

Slots: ``{s}`` the subject ("the color of Velmar"), ``{k}`` the bare key, ``{e}`` the entity, ``{v}`` the value.
The wordings that evaluation uses are elsewhere and must not be made by this grammar; a test holds the two apart.
"""

import random

from focusllm.training.grammar import expand


def _items(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split("|") if item.strip()]


LINKS = _items(
    """is|is|is|is|was|was|is now|is still|remains|will be|has been|was set to|is set to|turned out to be|became
    |changed to|equals|must be|should be|is called|is listed as|is given as|reads|happens to be|is said to be
    |is known to be|seems to be|would be|came out as|is recorded as|is written as|was fixed at|stands at|is marked
    |is believed to be|is none other than|ended up as|has become|is currently|used to be|shall be|was confirmed as
    |is simply|is really|is just|is going to be|was announced as|was changed to|comes to|is entered as|is of course
    |is probably|was decided to be|is down as|shows as|is registered as|is taken to be|is understood to be"""
)
INVERSE_LINKS = _items(
    """is|is|was|was chosen as|serves as|counts as|is what we call|has been|became|is used as|is kept as|is known as
    |was given as|is listed as|will be|was picked as|is the same as|is recorded as|is our note for|acts as|stands for
    |was named|works as|is the value of|is meant by|belongs to|goes with|is written next to|is the answer for"""
)
ENTITY_VERBS = _items(
    """has|uses|lists|gives|shows|takes|picked|chose|names|quotes|prints|marks|files|entered|recorded|stored|mentions
    |reports|announced|published|declares|claims|settled on|agreed on|decided on|went with|stuck with|ended up with
    |accepts|wants|prefers|got|received|ordered|posted|wrote|writes|registered|adopted|introduced|proposed|kept
    |selected|needs|favors|assigned|carries|bears|set|holds|noted|put down|booked|confirmed|started with|relies on"""
)
ROLES = _items(
    """as its {k}|as its {k}|as the {k}|as their {k}|for its {k}|for the {k}|under {k}|as {k}|in the field {k}
    |when it comes to the {k}|with regard to the {k}|in the role of {k}|to be the {k}|by way of {k}|in place of the {k}
    |as a {k}|next to {k}|in the line for the {k}|as far as the {k} goes|on the subject of the {k}"""
)
ENTITY_KEY = _items(
    """{e} has a {k} of {v}|{e} reports a {k} of {v}|{e} says its {k} is {v}|{e} told us that the {k} was {v}
    |{e} announced that its {k} is {v}|for {e}, the {k} is {v}|at {e} the {k} is {v}|with {e} the {k} is {v}
    |as for {e}, its {k} is {v}|in the case of {e} the {k} was {v}|{e} gave its {k} as {v}|{e} set the {k} to {v}
    |{e} changed the {k} to {v}|{e} has a {k}, namely {v}|{e} is the one with the {k} {v}|{e} made its {k} {v}
    |{e} calls its {k} {v}|{v}, the {k} of {e}, is well known|{v} is what {e} has as {k}|{e}, with {v} as {k}, is next
    |{e}, whose {k} is {v}, is on the list|the {k} that {e} has is {v}|the {k} {e} uses is {v}|{e}'s {k}, {v}, is new
    |{e} knows that the {k} is {v}|{e} wrote: our {k} is {v}|the {k} was {v} in {e}|the {k} there, at {e}, is {v}"""
)
REPORTED = _items(
    """they chose {v} as {s}|we recorded {v} for {s}|use {v} as {s}|we call {v} {s}|someone wrote {v} next to {s}
    |if you need {s}, it is {v}|when asked about {s}, they answered {v}|{s} (currently {v}) was reviewed
    |take {v} for {s}
    |{s}, which is {v}, was mentioned|it is {v} that serves as {s}|I was told that {s} is {v}|she said {v} was {s}
    |he put {v} down for {s}|nobody doubts that {s} is {v}|for {s} they gave {v}|for {s} we use {v}|as {s} we have {v}
    |under {s} it says {v}|in place of {s} write {v}|we found {v} where {s} was asked for|to get {s}, enter {v}
    |they asked for {s} and heard {v}|the list gives {v} for {s}|the sheet shows {s} as {v}|my notes have {v} for {s}
    |the form says {s} is {v}|a letter names {v} as {s}|the sign has {v} for {s}|table {n} gives {s} as {v}
    |line {n} says that {s} is {v}|in row {n} {s} is {v}|on day {n} {s} was {v}|since {n} {s} has been {v}
    |I remember {s}: {v}|{s}? That is {v}|{s}? {v}|what about {s}? It is {v}|do you know {s}? It is {v}
    |with {v} as {s}, all is well|thanks to {v}, which is {s}, it worked|{s} is not a secret: it is {v}
    |the right entry for {s} is {v}|the correct value of {s} is {v}|let {s} be {v}|say {v} when they want {s}
    |we went from nothing to {v} for {s}|the board made {v} {s}|everyone takes {v} to be {s}|I think of {v} as {s}
    |the guard only knows {s}, {v}|all of us had {v} for {s}|there is {s}, and it is {v}|here is {s}: {v}"""
)
PHRASE_VERBS = _items(
    """went with|came to|fell back on|looks at|spoke of|opted for|insists on|asked for|moved over to|switched to
    |hit upon|ran into|holds on to|hangs on to|stands by|votes for|argued for|is happy with|is content with|lives with
    |makes do with|sticks to|counts on|speaks of|writes of|thinks of|dreams of|was left with|was given|was granted
    |was handed|is served by|was met by|is tied to|points at|signed up for|pays for|works with|turned to|turns to
    |came down to|is bound to|bet on|builds on|runs on|trades on|passes for|grew fond of|came away with|is down to"""
)
ROLES_OF_PHRASE = _items(
    """as its {k}|as the {k}|for its {k}|for the {k}|for a {k}|when the {k} is asked for|if the {k} is meant
    |in the matter of the {k}|where a {k} is needed|in all that touches the {k}|whenever the {k} comes up
    |as soon as the {k} is mentioned|because of its {k}|since its {k} is that|instead of another {k}|and no other {k}
    |as its own {k}|as the old {k}|as the best {k}|as the only {k}|as the next {k}|by way of a {k}
    |, its {k}|, the {k}"""
)
TOLD = _items(
    """whoever needs {s} may write {v}|those who want {s} are sent to {v}|people call {v} {s}|many say {s} is {v}
    |nobody but the cook knew that {s} was {v}|a visitor was shown {v} as {s}|children learn that {s} is {v}
    |the old map marks {v} as {s}|the book on the shelf lists {s} under {v}|page {n} has {v} down as {s}
    |chapter {n} names {s}, and it is {v}|in the last edition {s} is {v}|a note on the desk reads {v}, meaning {s}
    |the stone in the yard bears {v}, which is {s}|the phone rang, and a voice gave {s} as {v}
    |ask for {s} and you get {v}|search for {s} and you see {v}
    |were anybody to want {s}, {v} would be the reply|should {s} be lost, remember {v}|were it not for {v}, {s}
    would be missing|after the vote {s} went to {v}|after much talk {s} is {v} again|it took {n} days to make {v} {s}
    |the typist put {v} where {s} goes|the judge read out {s}, and it was {v}|no one could guess that {s} is {v}
    |only {v} will do for {s}|nothing but {v} is right for {s}|the reply to the letter about {s} was {v}
    |the guide said {v} when somebody asked for {s}|once there was another, but now {s} is {v}
    |for {n} years {s} was {v}|{v} has been {s} for {n} years|{v} it is, as {s}|{v}, they said, would be {s}
    |{v}, and nothing else, is {s}|{v} - this is {s}|{v} - so the file has {s}|{v}: so much for {s}|{v} won as {s}
    |{v} appears in the box for {s}|{v} can be found under {s}|{v} came up when {s} was discussed
    |the crew agreed on {v} for {s}|the town voted {v} to be {s}|the family kept {v} as {s}
    |the owner prefers {v} as {s}
    |the teacher wrote {v} on the board as {s}|the prize for finding {s} went to whoever said {v}
    |the screen flashed {v} for {s}|the system returned {v} for {s}|the query for {s} gave {v}
    |the row of {s} holds {v}"""
)
ENTITY_TOLD = _items(
    """workers in {e} say the {k} is {v}|friends of {e} know {v} as the {k}|those at {e} found {v} to be the {k}
    |when {e} opened, {v} became the {k}|when {e} was asked about the {k}, it was {v}|before {e} moved, its {k} was {v}
    |the {k} at hand for {e} was {v}|near {e} there is {v}, the {k}|down in {e}, {v} is the {k}|here at {e} the {k}
    is {v}|the poster of {e} shows {v} for the {k}|the letter from {e} confirms {v} as its {k}
    |the people of {e} made {v} their {k}|the head of {e} named {v} as the {k}|by order of {e} the {k} is {v}
    |{e} let {v} be the {k}|{e} took {v} to be the {k}|{e} got itself {v} for a {k}|{e} could use {v} for the {k}
    |{e} could do no better than {v} as {k}|{e} never had a {k} other than {v}|{e} owes its {k}, {v}, to luck
    |{e} and its {k}, {v}, are famous|{e} is proud of its {k}, {v}|{e}, of all places, has {v} as its {k}
    |{e} would not be the same without {v} as its {k}|{e} put {v} in the box marked {k}|{e} answered {v} to the {k}
    question|{v} works for {e} as the {k}|{v} was brought to {e} as its {k}|{v} is what {e} goes by for its {k}
    |{v} has been at {e} as the {k}|{v} will serve {e} as {k}|of all things, {e} has {v} as {k}|the {k}, at least in
    {e}, is {v}|the only {k} that {e} ever had is {v}|the {k} of choice at {e} is {v}|if {e} has a {k}, it is {v}
    |we asked {e} about the {k} and got {v}|the {k} was changed by {e} to {v}|the {k} that suits {e} is {v}"""
)
STRUCTURED = _items(
    """{s}: {v}|{s} = {v}|{s} -> {v}|{s} / {v}|{s} - {v}|[{s}] {v}|{s}; {v}|{s}, {v}|{v}: {s}|{v} ({s})|{v} - {s}"""
)
STRUCTURED_ENTITY = _items(
    """{e}: {k} {v}|{e} - {k}: {v}|{e} / {k} / {v}|{k} ({e}): {v}|{e} ({k}: {v})|{e}, {k}, {v}|{k} of {e}: {v}
    |{e}: {k} = {v}|{e} -> {k} -> {v}|{e} [{k}] {v}|{k} at {e} - {v}|{e}; {k}; {v}|{k}: {v} (at {e})|{v}: {k}, {e}"""
)
OPENERS = _items(
    """Note that|Remember that|Remember:|According to the report,|As of last week,|It was confirmed that|In short,|NOTE:
    |-|#|*|>|By the way,|We know that|It is known that|For reference,|Please note:|In fact,|Everyone agrees that
    |Last year it was decided that|On Monday we learned that|The records show that|Update:|FYI:|As stated before,
    |In the end,|It turned out that|You should know that|Do not forget that|One more thing:|Fact:|For now,|Officially,
    |At the meeting they said that|This is important:|In this case|The letter says that|Today|Still,|However,|And so
    |As a rule,|After a long talk|This time|Since the spring|Whatever happens,|Surely|Some say|I am sure that|Then
    |To be clear,|First of all,|Before you go:|Between us,|As before,|From what I hear,|Once again,|Listen:|Well,
    |Contrary to rumor,|Without doubt|Strangely enough,|At last|Until now|Here it is:|Warning:|Reminder:|Memo:|P.S."""
)
CLOSERS = _items(
    """according to the log|as far as we know|for now|this year|since last summer|until further notice|as agreed
    |in the final version|at the moment|without any doubt|again|today|as planned|after the change|by default
    |in this list|for all of us|on paper|from now on|at present|for once|in the end|as usual|so far|on most days
    |if I am right|in every case|for good|at first|by the rules|for a reason|to this day|in the old days|of late"""
)
FOLLOW_UPS = _items(
    """Keep this in mind.|Please write it down.|Do not share it.|This will not change.|Nobody knows why.|Thanks.
    |It was checked twice.|That is all.|This matters.|We will ask about it later.|Ask again if in doubt.|Good.
    |The rest is unknown.|More on this below.|So it goes.|Nothing else is new.|It took a while.|Take care.
    |That was a surprise.|We were glad.|You may need it.|Tell the others.|No more on that."""
)
SUBJECTS_ENTITY = _items(
    "the {k} of {e}|the {k} of {e}|{e}'s {k}|the {k} for {e}|the {k} at {e}|{e}'s own {k}|the {k} in {e}"
)
SUBJECTS_PLAIN = _items("the {k}|the {k}|the {k}|our {k}|your {k}|my {k}|this {k}|their {k}|a certain {k}")
QUOTES = ("'{v}'", '"{v}"', "`{v}`", "({v})", "[{v}]", "<{v}>", "*{v}*")

# These hold a sentence together: where a value itself is words, it could not be told from others without them.
_FUNCTION_WORDS = """about above after against among because before behind below between during except from inside into
near next only other over since such than that their then there these this those through under until when where which
while whose will with without would could should must might been have does were what they your"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())

# Most people ask in the words of the bundled adapter's own template, and benchmarks in words of their own.
_TEMPLATE_FORM = "\nQuestion: What is {s}?\nAnswer:"
QUESTION_FORMS = (
    *[_TEMPLATE_FORM] * 6,
    "\nQuestion: what is {s}?\nAnswer:",
    "\nQuestion: Tell me {s}.\nAnswer:",
    "\nQuestion: Give {s}.\nAnswer:",
    "\nQuestion: Who or what is {s}?\nAnswer:",
    "\nQuestion: {S}?\nAnswer:",
    "\nQ: What is {s}?\nA:",
    "\nWhat is {s}? {S} is",
    "\nWhat is {s}? {S} is",
    "\nWhat was {s}?\nAnswer:",
    "\nWhat does it say {s} is? {S} is",
    "\nFind {s} above. {S} is",
    "\nNow tell me: what is {s}?\nAnswer:",
    "\nAccording to the text, what is {s}? It is",
    "\nDo you remember {s}? It is",
    "\nComplete the line: {s} is",
    "\nInstruction: Say what {s} is.\nResponse:",
    "\nSo {s} is",
    "\n{S} is",
    "\n{S} is",
    "\n{S}:",
    "\n{S}?",
)


# Share of statements worded by the grammar; the lists word the others.
GRAMMAR_SHARE = 0.6


def draw_core(rng: random.Random, has_entity: bool) -> str:
    """Draw the core of a statement, with its slots open."""
    is_grammar = rng.random() < GRAMMAR_SHARE
    if has_entity and rng.random() < 0.55:
        core = expand(rng, "entity") if is_grammar else _draw_entity_core(rng)
    else:
        core = expand(rng, "subject") if is_grammar else _draw_subject_core(rng)
    subject = rng.choice(SUBJECTS_ENTITY if has_entity else SUBJECTS_PLAIN)
    return core.replace("{s}", subject).replace("{n}", str(rng.randint(1, 99)))


def _draw_entity_core(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return f"{{e}} {rng.choice(ENTITY_VERBS)} {{v}} {rng.choice(ROLES)}"
    if kind < 0.5:
        return f"{{e}} {rng.choice(PHRASE_VERBS)} {{v}} {rng.choice(ROLES_OF_PHRASE)}".replace(" ,", ",")
    if kind < 0.7:
        return rng.choice(ENTITY_KEY)
    return rng.choice(ENTITY_TOLD if kind < 0.9 else STRUCTURED_ENTITY)


def _draw_subject_core(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return f"{{s}} {rng.choice(LINKS)} {{v}}"
    if kind < 0.5:
        return f"{{v}} {rng.choice(INVERSE_LINKS)} {{s}}"
    if kind < 0.57:
        return rng.choice(STRUCTURED)
    return rng.choice(REPORTED if kind < 0.78 else TOLD)
