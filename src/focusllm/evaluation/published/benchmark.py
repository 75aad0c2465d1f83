"""What a published benchmark is: a folder of its files, read into subsets of questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from focusllm.errors import ConfigurationError, InputError
from focusllm.evaluation.published.files import Fields, found

T = TypeVar("T")
# The benchmark's own way, and that of the FocusLLM authors' code.
PROTOCOLS = ("official", "paper")


@dataclass(frozen=True)
class PublishedQuestion:
    """One question of a published benchmark.

    Attributes:
        prompt: Text and question, worded by the benchmark's templates.
        answers: What is right; read by people.
        score: Says how right an output is, 0 to 1, by the benchmark's rule.
        groups: The benchmark's own groups that it counts in, beside its subset.
        ask: Words the prompt that asks for the answer, of the reasoning that the first prompt asked for; ``None`` where
            that asks for the answer.
    """

    prompt: str
    answers: tuple[str, ...]
    score: Callable[[str], float]
    groups: tuple[str, ...] = ()
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Subset:
    """One part of a published benchmark.

    Attributes:
        name: Its name.
        path: The file of its samples.
        max_new_tokens: How many tokens an answer may take.
        question: Makes a question of a sample.
        stops: Texts of one token that end an answer.
        min_new_tokens: How many tokens come before any end.
        is_bare: Whether its prompts stay outside a chat template.
        reasoning_tokens: How many tokens reasoning may take, where there is any.
    """

    name: str
    path: Path
    max_new_tokens: int
    question: Callable[[Fields], PublishedQuestion]
    stops: tuple[str, ...] = ()
    min_new_tokens: int = 0
    is_bare: bool = False
    reasoning_tokens: int = 0


class PublishedBenchmark(ABC):
    """A benchmark in a folder.

    Args:
        folder: A clone of the benchmark's repository, its data in it.
        protocol: One of :data:`PROTOCOLS`.
        templates: Which of the benchmark's sets of templates; its own default if not given.
        reasons: Whether reasoning is asked for, and the answer behind it.

    Raises:
        ConfigurationError: The benchmark knows no such protocol or set, or no reasoning.
        InputError: The folder or a prompt file is missing, or is not as the benchmark publishes it.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    protocols: ClassVar[tuple[str, ...]] = ("official",)
    has_templates: ClassVar[bool] = False
    has_reasoning: ClassVar[bool] = False

    def __init__(
        self, folder: Path, protocol: str = "official", templates: str | None = None, reasons: bool = False
    ) -> None:
        if protocol not in self.protocols:
            raise ConfigurationError(
                f"--protocol must be {' or '.join(self.protocols)} for {self.name}; got {protocol!r}."
            )
        if templates is not None and not self.has_templates:
            raise ConfigurationError(f"--templates belongs to infinitebench; {self.name} has one set of templates.")
        if reasons and not self.has_reasoning:
            raise ConfigurationError(f"--reasoning belongs to longbench-v2; {self.name} asks for answers at once.")
        self.folder, self.protocol, self.is_paper = folder, protocol, protocol == "paper"

    @property
    @abstractmethod
    def prompt_files(self) -> tuple[Path, ...]:
        """The files that templates, limits and labels were read from."""

    @property
    @abstractmethod
    def subset_names(self) -> tuple[str, ...]:
        """All subsets, in the benchmark's order, whether their data are there or not."""

    @property
    def header(self) -> dict[str, Any]:
        """What prompts depend on beside protocol and files."""
        return {}

    @abstractmethod
    def places(self, subset: str) -> tuple[str, ...]:
        """Return where in the folder the data of a subset may be."""

    @abstractmethod
    def subset(self, subset: str, path: Path) -> Subset:
        """Return a subset whose data are at a path."""

    def open(self, names: tuple[str, ...] | None = None) -> list[Subset]:
        """Return subsets by name; all whose data are there, if none are named.

        Raises:
            ConfigurationError: A name is unknown.
            InputError: Data or templates are missing.
        """
        for name in names or ():
            if name not in self.subset_names:
                known = ", ".join(self.subset_names)
                raise ConfigurationError(f"--subsets must be among {known} for {self.name}; got {name!r}.")
        wanted = names or [name for name in self.subset_names if self._has(name)]
        if not wanted:
            first = self.subset_names[0]
            raise InputError(
                f"There are no data of {self.name} in {self.folder}: those of {first}, for one, are looked for at "
                f"{', '.join(self.places(first))}."
            )
        return [self.subset(name, found(self.folder, self.places(name), f"data file of {name}")) for name in wanted]

    def _has(self, name: str) -> bool:
        return any((self.folder / place).is_file() for place in self.places(name))


def best_of(rule: Callable[[str, str], float], output: str, answers: list[str]) -> float:
    """Return the best score of an output against any of the answers."""
    return max(rule(output, answer) for answer in answers)


def entry(values: Mapping[str, Any], name: str, path: Path, kind: type[T]) -> T:
    """Return what a prompt file says of a subset.

    Raises:
        InputError: It says nothing, or says it with another kind of value.
    """
    value = values.get(name)
    if not isinstance(value, kind):
        said = f"says {value!r:.80}" if name in values else f"says nothing; it has {', '.join(values)}"
        raise InputError(f"Of {name!r}, {path} must say a {kind.__name__}; it {said}. Use the benchmark's own file.")
    return value
