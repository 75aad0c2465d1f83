"""Needles in a haystack, in eight forms: one or many keys, one or many values, in noise, in text, among needles.

Source: RULER (arXiv 2404.06654), its "niah" tasks. Generated here by its description; wording, words and text (the
standard library's instead of essays) are ours, so scores are not to be mixed with published ones. MIT. Version 1.
"""

import random
from dataclasses import dataclass
from typing import Literal

from focusllm.bundled.text import installation_words
from focusllm.evaluation.tasks.haystack import (
    Filler,
    distinct,
    other_needles,
    put_together,
    real_text,
    repeated,
    spread,
)
from focusllm.evaluation.tasks.key_value import identifier
from focusllm.evaluation.tasks.passkey import FILLER
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import share_found

Kind = Literal["word", "number", "uuid"]
_NOUNS = {"word": "word", "number": "number", "uuid": "identifier"}
INTRO = "The text below hides some facts about magic {kind}s. Keep them in mind: they will be asked for.\n\n"
NEEDLE = "One magic {kind} of {key} is {value}.\n"
QUESTION = "\nWhich magic {kind}s of {keys} does the text give? The magic {kind}s of {keys} are"
QUESTION_OF_ONE = "\nWhich magic {kind} of {keys} does the text give? The magic {kind} of {keys} is"


@dataclass(frozen=True)
class Niah:
    """Needles in a haystack.

    Attributes:
        name: The name results carry.
        haystack: Repeated sentences, real text, or needles about other keys.
        keys: What keys are.
        values: What values are.
        num_keys: Keys the text states values of, where it is not made of needles.
        num_values: Values of the key asked for.
        num_queries: Keys asked for.
    """

    name: str
    haystack: Literal["noise", "text", "needles"]
    keys: Kind = "word"
    values: Kind = "number"
    num_keys: int = 1
    num_values: int = 1
    num_queries: int = 1
    version: int = 1
    max_new_tokens: int = 128
    stays_right: bool = True

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the first needle stands at the depth, others spread round.

        Raises:
            InputError: The length cannot hold introduction, needles and question.
        """
        rng = rng_of(seed)
        keys = distinct(max(self.num_keys, self.num_queries), lambda: _draw(rng, self.keys))
        values = distinct(len(keys) * self.num_values, lambda: _draw(rng, self.values))
        stated = [
            (key, values[place * self.num_values + n]) for place, key in enumerate(keys) for n in range(self.num_values)
        ]
        statements = [self._needle(key, value) for key, value in stated]
        asked = keys[: self.num_queries]
        answers = tuple(value for key, value in stated if key in asked)
        form = QUESTION_OF_ONE if len(answers) == 1 else QUESTION
        question = form.format(kind=_NOUNS[self.values], keys=_enumeration(asked))
        parts = (INTRO.format(kind=_NOUNS[self.values]), question)
        needles = list(zip(spread(depth, len(statements)), statements, strict=True))
        prompt = put_together(encode, num_tokens, self.name, parts, needles, self._filler(encode, rng, set(keys)))
        told = tuple(text.strip() for text, (key, _) in zip(statements, stated, strict=True) if key in asked)
        return EvalSample(prompt, told, question, answers, depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Return the share of values the output holds."""
        return share_found(output, sample.answers)

    def _needle(self, key: str, value: str) -> str:
        return NEEDLE.format(kind=_NOUNS[self.values], key=key, value=value)

    def _filler(self, encode: Encode, rng: random.Random, used: set[str]) -> Filler:
        if self.haystack == "noise":
            return repeated(encode, f"{FILLER}\n")
        if self.haystack == "text":
            return real_text(encode, rng.random())

        def line_of(key: str) -> str:
            return self._needle(key, _draw(rng, self.values))

        return other_needles(encode, used, lambda: _draw(rng, self.keys), line_of)


def _draw(rng: random.Random, kind: Kind) -> str:
    if kind == "number":
        return str(rng.randint(1_000_000, 9_999_999))
    if kind == "uuid":
        return identifier(rng)
    words = installation_words("evaluation")
    return f"{rng.choice(words)}-{rng.choice(words)}"


def _enumeration(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


NIAH = (
    Niah("niah-single-1", "noise"),
    Niah("niah-single-2", "text"),
    Niah("niah-single-3", "text", values="uuid"),
    Niah("niah-multikey-1", "text", num_keys=4),
    Niah("niah-multikey-2", "needles"),
    Niah("niah-multikey-3", "needles", keys="uuid", values="uuid"),
    Niah("niah-multivalue", "text", num_values=4),
    Niah("niah-multiquery", "text", num_queries=4),
)
