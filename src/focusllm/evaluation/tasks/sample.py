"""What a task is: samples that can be drawn again one by one, and a rule that scores an output."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class EvalSample:
    """One question about one text.

    Attributes:
        prompt_ids: Text and question, as one sequence.
        statements: The sentences of the text that the answers rest on; each is there once. Empty where it is the
            whole text.
        question: The question, as it stands at the end of the prompt.
        answers: What should come next; where there are several, all of them, in any order.
        depth: Where in the text the answer stands, 0 (start) to 1 (end).
        seed: The seed it was drawn from, from which it can be drawn again.
    """

    prompt_ids: list[int]
    statements: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    depth: float
    seed: str

    @property
    def answer(self) -> str:
        """The answers, to be read."""
        return ", ".join(self.answers)


@runtime_checkable
class Task(Protocol):
    """A benchmark."""

    @property
    def name(self) -> str:
        """The name results carry."""
        ...

    @property
    def version(self) -> int:
        """Goes up whenever samples or scores change."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """How many tokens an answer may take."""
        ...

    @property
    def stays_right(self) -> bool:
        """Whether an output that is right is so whatever follows: then nothing needs to follow."""
        ...

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens."""
        ...

    def score(self, output: str, sample: EvalSample) -> float:
        """Return how much of what should come next an output gives, 0 to 1."""
        ...


def rng_of(seed: str) -> random.Random:
    """Make the random generator of one sample; nothing is shared between samples."""
    return random.Random(seed)
