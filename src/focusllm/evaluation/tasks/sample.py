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
        statement: The sentence of the text that the answer rests on.
        question: The question, as it stands at the end of the prompt.
        answer: What should come next.
        depth: Where in the text the answer stands, 0 (start) to 1 (end).
        seed: The seed it was drawn from, from which it can be drawn again.
    """

    prompt_ids: list[int]
    statement: str
    question: str
    answer: str
    depth: float
    seed: str


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

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens."""
        ...

    def is_right(self, output: str, answer: str) -> bool:
        """Say whether an output gives the answer."""
        ...


def rng_of(seed: str) -> random.Random:
    """Make the random generator of one sample; nothing is shared between samples."""
    return random.Random(seed)
