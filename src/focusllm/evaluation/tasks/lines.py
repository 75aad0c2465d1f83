"""Lines: the number on one of many lines, each with a name of its own.

Source: LongEval's line retrieval (LongChat, lmsys.org, June 2023). Generated here; the wording is ours. MIT. Version 1.
"""

import random
from dataclasses import dataclass

from focusllm.bundled.text import installation_words
from focusllm.evaluation.tasks.haystack import other_needles, put_together
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import last_number_is

INTRO = "Below are many lines. Each has a name and holds a number. Keep them in mind.\n\n"
LINE = "line {name}: it holds the number {number}\n"
QUESTION = "\nWhich number does line {name} hold? Line {name} holds the number"


@dataclass(frozen=True)
class Lines:
    """Line retrieval: the haystack is made of needles."""

    name: str = "lines"
    version: int = 1
    max_new_tokens: int = 12
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens.

        Raises:
            InputError: The length cannot hold introduction, line and question.
        """
        rng = rng_of(seed)
        name, number = _name(rng), str(rng.randint(10_000, 99_999))

        def line_of(other: str) -> str:
            return LINE.format(name=other, number=rng.randint(10_000, 99_999))

        filler = other_needles(encode, {name}, lambda: _name(rng), line_of)
        needle, question = LINE.format(name=name, number=number), QUESTION.format(name=name)
        prompt = put_together(encode, num_tokens, self.name, (INTRO, question), [(depth, needle)], filler)
        return EvalSample(prompt, (needle.strip(),), question, (number,), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the last number of the output's first line with the line's."""
        return last_number_is(output.strip().split("\n")[0], sample.answer)


def _name(rng: random.Random) -> str:
    words = installation_words("evaluation")
    return f"{rng.choice(words)}-{rng.choice(words)}-{rng.randint(0, 99)}"
