"""Facts in wordings and words no training recipe of ours has seen, in real text.

Source: ours, version 1. The text is the evaluation share of the standard library (see
:mod:`focusllm.bundled.text`); keys, entities and word values come from the evaluation share of its words, or
are names made up on the spot. One fact is stated once, on a line of its own. An output is right if its first
line is the value, letter for letter.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from focusllm.bundled.text import installation_texts, installation_words
from focusllm.evaluation.tasks.haystack import check_room, kept_with_encoder
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of

WORDINGS = (
    "Anyone asking about the {k} of {e} should be told {v}.",
    "Ever since the move, {e} has gone for {v} where the {k} is concerned.",
    "{v} - that is how the ledger gives the {k} of {e}.",
    "People close to {e} will tell you that the {k} has always been {v}.",
    "On page nine of the annual review, the {k} of {e} appears as {v}.",
    "You will find that {e} still keeps {v} for a {k}.",
    "After some debate the council let {e} have {v} as the new {k}.",
    "Those who visit {e} learn soon enough that its {k} could only be {v}.",
    "Had you looked up the {k} of {e}, you would have come across {v}.",
    "It took years, but these days the {k} over at {e} amounts to {v}.",
    "The plaque beside the door of {e} honors {v} as the {k}.",
    "Asked for the {k} of {e}, the clerk pointed to {v} without a word.",
)
# Written after errors on the first ones had been looked at: they tell whether a change to the training data that such
# errors suggest does more than teach the test. One did not (docs/results/tiny.md).
SECOND_WORDINGS = (
    "It is common knowledge around {e} that nothing except {v} passes for the {k}.",
    "Travellers bound for {e} are advised to write {v} wherever a form mentions the {k}.",
    "According to the archivist, {e} replaced its former {k} with {v} last spring.",
    "The caretaker of {e} swears that {v} remains the {k} to this day.",
    "Two letters from {e} survive, and both give {v} as the {k}.",
    "If memory serves, the {k} printed on the leaflet from {e} was {v}.",
    "{e} has had many troubles, yet its {k} was never anything other than {v}.",
    "When the clerk read out the {k} of {e}, everyone in the room wrote down {v}.",
    "Of everything known about {e}, the {k}, which is {v}, matters most.",
    "The inspector could not help noticing that {v} had been entered as the {k} of {e}.",
    "Ask three people for the {k} of {e} and all three will answer {v}.",
    "Ranked first on the list for {e} stands {v}, described there as the {k}.",
)
# Written before the training data was changed again, and first measured behind that.
THIRD_WORDINGS = (
    "Nobody in the valley remembers a time when the {k} of {e} was not {v}.",
    "For its centenary, {e} printed {v} on every mug, since that is the {k}.",
    "Guidebooks disagree on much about {e}, though never on the {k}: always {v}.",
    "Thanks to a typing error, {e} nearly lost {v}, the {k} it treasures.",
    "The first thing a new employee of {e} memorizes is the {k}, namely {v}.",
    "Between the minutes and the budget there is a line giving {v} as the {k} of {e}.",
    "Neither rain nor rumor could persuade {e} to trade its {k}, {v}, for another.",
    "A brass tag hung above the stairs at {e} bears the {k}, {v}.",
    "Whenever a stranger inquires after the {k}, the porter of {e} mutters {v}.",
    "Having studied {e} for a decade, she is certain that {v} served as its {k}.",
    "It says {v} in the margin, right where one would expect the {k} of {e}.",
    "Few neighbors of {e} could name its {k} offhand, but the mayor recited {v} at once.",
)
QUESTION = "\nQuestion: What is the {k} of {e}?\nAnswer:"
_NAME_PARTS = (
    ("Al", "Ber", "Cor", "Dun", "El", "Fen", "Gar", "Hol", "Is", "Jor", "Kel", "Lor", "Mor", "Nor", "Os", "Per"),
    ("a", "e", "i", "o", "u", "an", "en", "in", "on", "ar", "er", "ir"),
    ("dale", "feld", "grim", "holt", "lin", "mund", "nor", "quist", "rick", "sted", "ton", "wick", "worth", "by"),
)


@dataclass(frozen=True)
class Facts:
    """One fact in an unseen wording, somewhere in real text."""

    name: str = "facts"
    wordings: tuple[str, ...] = WORDINGS
    version: int = 1
    max_new_tokens: int = 20
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the text's start is cut to reach the length.

        Raises:
            InputError: The length cannot hold statement and question.
        """
        rng = rng_of(seed)
        key, entity, value = _draw_key(rng), _draw_entity(rng), _draw_value(rng)
        wording = rng.choice(self.wordings).format(k=key, e=entity, v=value)
        statement = wording if wording.startswith(value) else wording[0].upper() + wording[1:]
        question_text = QUESTION.format(k=key, e=entity)
        question, needle = encode(question_text), encode(f"\n{statement}\n")
        room = num_tokens - len(needle) - len(question)
        check_room("facts", num_tokens, room)
        text = _real_text(encode, rng, room)
        line_break = encode("\n")[0]
        before = round(depth * room)
        # The statement stands on a line of its own: go back to the end of the line before.
        while 0 < before < room and text[before - 1] != line_break:
            before -= 1
        prompt = text[:before] + needle + text[before:] + question
        return EvalSample(prompt, (statement,), question_text.strip(), (value,), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the output's first line with the value."""
        return float(output.strip().split("\n")[0].strip().rstrip(".") == sample.answer)


def _draw_key(rng: random.Random) -> str:
    return " ".join(rng.sample(installation_words("evaluation"), rng.choice((1, 2, 2))))


def _draw_name(rng: random.Random) -> str:
    return "".join(rng.choice(parts) for parts in _NAME_PARTS)


def _draw_entity(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"{_draw_name(rng)} {_draw_name(rng)}"
    return f"the {_draw_name(rng)} {rng.choice(('works', 'society', 'archive', 'bureau', 'studio', 'brewery'))}"


def _draw_value(rng: random.Random) -> str:
    kinds: tuple[Callable[[], str], ...] = (
        lambda: str(rng.randint(100, 9_999_999)),
        lambda: f"{_draw_name(rng)} {_draw_name(rng)}",
        lambda: rng.choice(installation_words("evaluation")),
    )
    return rng.choice(kinds)()


def _real_text(encode: Encode, rng: random.Random, num_tokens: int) -> list[int]:
    """Take a run of tokens from the evaluation share, going round where it ends."""
    tokens = _evaluation_tokens(encode)
    start = rng.randrange(len(tokens))
    repeats = (start + num_tokens) // len(tokens) + 1
    return (tokens * repeats)[start : start + num_tokens] if repeats > 1 else tokens[start : start + num_tokens]


@kept_with_encoder
def _evaluation_tokens(encode: Encode) -> list[int]:
    return encode("".join(installation_texts("evaluation")))
