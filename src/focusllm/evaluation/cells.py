"""What a run consists of: samples that can be made one by one, and what is written beside their outputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from focusllm.evaluation.tasks.sample import Encode, EvalSample


@dataclass(frozen=True)
class Reasoning:
    """What is written before the answer is asked for, in a prompt of its own.

    Attributes:
        max_new_tokens: How many tokens it may take.
        ask: Words the prompt that asks for the answer, of what was written.
    """

    max_new_tokens: int
    ask: Callable[[str], str]


@dataclass(frozen=True)
class Cell:
    """One sample of a run, before it is made.

    Attributes:
        seed: Its name, by which a run that is taken up again, or compared, knows it.
        draw: Makes it.
        score: Says how much of what should come next an output gives, 0 to 1.
        max_new_tokens: How many tokens an answer may take.
        stops: Texts of one token that end an answer, beside the base's own end.
        min_new_tokens: How many tokens come before any end.
        is_chat: Whether its text is worded by the tokenizer's chat template.
        told: What its record says beside prompt, output and score.
        reasoning: What comes before the answer, which then is not asked for by the sample's own prompt.
        stays_right: Whether an output that is right is so whatever follows: then nothing needs to follow.
    """

    seed: str
    draw: Callable[[Encode], EvalSample]
    score: Callable[[str, EvalSample], float]
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    min_new_tokens: int = 0
    is_chat: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)
    reasoning: Reasoning | None = None
    stays_right: bool = False


@runtime_checkable
class Suite(Protocol):
    """The samples of a run."""

    @property
    def header(self) -> dict[str, Any]:
        """What the samples depend on; the first line of a run's file says it, and a run goes on with the same only."""
        ...

    @property
    def work(self) -> int:
        """How much there is to do: the sum of :meth:`work_of` over all samples."""
        ...

    def work_of(self, record: Mapping[str, Any]) -> int:
        """Return how much of it a sample was, so that time that is left can be foretold."""
        ...

    def cells(self) -> Iterator[Cell]:
        """Yield the samples, always in the same order."""
        ...
