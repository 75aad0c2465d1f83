"""Number string: ten digits, half of them doubled, somewhere in repeated sentences.

Source: InfiniteBench (arXiv 2402.13718), "Retrieve.Number". Generated here by its description; the wording is ours,
so scores are not to be mixed with published ones. MIT. Version 1.
"""

import random
from dataclasses import dataclass

from focusllm.evaluation.tasks.haystack import put_together, repeated
from focusllm.evaluation.tasks.passkey import FILLER
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import first_number_is

INTRO = "A long text follows in which a sequence of digits is hidden. Find it and keep it in mind.\n"
NEEDLE = "The sequence of digits is {digits}. Keep in mind: {digits} is the sequence of digits.\n"
QUESTION = "\nWhat is the sequence of digits? The sequence of digits is"


@dataclass(frozen=True)
class NumberString:
    """Number string: copying must keep count of equal digits."""

    name: str = "number-string"
    version: int = 1
    max_new_tokens: int = 12
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens.

        Raises:
            InputError: The length cannot hold introduction, needle and question.
        """
        digits = _digits(rng_of(seed))
        needle = NEEDLE.format(digits=digits)
        filler = repeated(encode, f"{FILLER}\n")
        prompt = put_together(encode, num_tokens, self.name, (INTRO, QUESTION), [(depth, needle)], filler)
        return EvalSample(prompt, (needle.strip(),), QUESTION, (digits,), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the first number of the output with the digits."""
        return first_number_is(output, sample.answer)


def _digits(rng: random.Random) -> str:
    digits = [str(rng.randint(0, 9)) for _ in range(5)]
    for _ in range(5):
        place = rng.randrange(len(digits))
        digits.insert(place, digits[place])
    return "".join(digits)
