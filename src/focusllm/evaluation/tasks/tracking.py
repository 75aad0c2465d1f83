"""Variable tracking: which variables hold a value, through a chain of assignments.

Source: RULER (arXiv 2404.06654), "vt". Generated here by its description; the wording is ours. MIT. Version 2.
"""

import string
from dataclasses import dataclass

from focusllm.evaluation.tasks.haystack import distinct, in_order, put_together, repeated
from focusllm.evaluation.tasks.passkey import FILLER
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import share_found

INTRO = "Follow the assignments that are hidden in the text below.\n\n"
QUESTION = "\nWhich variables hold the value {value} in the end? The variables with the value {value} are"


@dataclass(frozen=True)
class VariableTracking:
    """Variable tracking.

    Attributes:
        num_hops: Assignments from one variable to the next.
    """

    name: str = "variable-tracking"
    num_hops: int = 4
    version: int = 2
    # Five names of five drawn letters take more than RULER's 30 tokens in a small vocabulary.
    max_new_tokens: int = 60
    stays_right: bool = True

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the chain starts at half the depth and goes on in order.

        Raises:
            InputError: The length cannot hold introduction, assignments and question.
        """
        rng = rng_of(seed)
        names = distinct(self.num_hops + 1, lambda: "".join(rng.choices(string.ascii_uppercase, k=5)))
        value = str(rng.randint(10_000, 99_999))
        assigned = [value, *(f"VAR {name}" for name in names)]
        statements = [f"VAR {name} = {source}." for name, source in zip(names, assigned, strict=False)]
        question = QUESTION.format(value=value)
        prompt = put_together(
            encode,
            num_tokens,
            self.name,
            (INTRO, question),
            in_order(depth, statements),
            repeated(encode, f"{FILLER}\n"),
        )
        return EvalSample(prompt, tuple(statements), question, tuple(names), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Return the share of variables the output names."""
        return share_found(output, sample.answers)
