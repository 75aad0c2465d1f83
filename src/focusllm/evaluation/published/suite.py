"""Published benchmarks as samples of a run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from focusllm.errors import ConfigurationError, InputError
from focusllm.evaluation.cells import Cell, Reasoning
from focusllm.evaluation.published.babilong import Babilong
from focusllm.evaluation.published.benchmark import PublishedBenchmark, PublishedQuestion, Subset
from focusllm.evaluation.published.files import Fields, samples_of
from focusllm.evaluation.published.infinitebench import InfiniteBench
from focusllm.evaluation.published.longbench import LongBench, LongBenchE
from focusllm.evaluation.published.longbench_v2 import LongBenchV2
from focusllm.evaluation.tasks.sample import Encode, EvalSample
from focusllm.files import checksum, file_checksum

PUBLISHED: dict[str, Callable[[Path, str, str | None, bool], PublishedBenchmark]] = {
    kind.name: kind for kind in (LongBench, LongBenchE, LongBenchV2, InfiniteBench, Babilong)
}


@dataclass(frozen=True)
class Choice:
    """What of a published benchmark is run, and how.

    Attributes:
        folder: A clone of its repository, its data in it.
        protocol: ``"official"``, or ``"paper"``: the FocusLLM authors' code.
        subsets: Names; all whose data are there, if not given.
        trials: The first so many samples of each subset; all, if not given.
        templates: Which of the benchmark's sets of templates.
        is_chat: Whether prompts are worded by the tokenizer's chat template.
        reasons: Whether reasoning is asked for, and the answer behind it.
    """

    folder: Path
    protocol: str = "official"
    subsets: tuple[str, ...] | None = None
    trials: int | None = None
    templates: str | None = None
    is_chat: bool = False
    reasons: bool = False


class PublishedSuite:
    """The samples of a published benchmark. All of them are looked at before the first is run.

    Args:
        name: One of :data:`PUBLISHED`.
        choice: What is run.

    Raises:
        ConfigurationError: A protocol, subset, reasoning or number of samples is not to be had.
        InputError: A file is missing, or not as the benchmark publishes it.
    """

    def __init__(self, name: str, choice: Choice) -> None:
        if choice.trials is not None and choice.trials < 1:
            raise ConfigurationError(f"--trials must be at least 1; got {choice.trials}.")
        self._benchmark = PUBLISHED[name](choice.folder, choice.protocol, choice.templates, choice.reasons)
        self._choice = choice
        self._subsets = self._benchmark.open(choice.subsets)
        self._checksums = {subset.name: file_checksum(subset.path) for subset in self._subsets}
        self._counts = {subset.name: self._checked(subset) for subset in self._subsets}

    @property
    def header(self) -> dict[str, Any]:
        """What the samples depend on."""
        return {
            "task": self._benchmark.name,
            "task_version": self._benchmark.version,
            "protocol": self._benchmark.protocol,
            "is_chat": self._choice.is_chat,
            "prompts_checksum": checksum("".join(map(file_checksum, self._benchmark.prompt_files)).encode()),
            **self._benchmark.header,
        }

    @property
    def work(self) -> int:
        """How many samples there are: how long they are, only a tokenizer can tell."""
        return sum(self._counts.values())

    def work_of(self, record: Mapping[str, Any]) -> int:
        """Return 1 for every sample."""
        return 1

    def cells(self) -> Iterator[Cell]:
        """Yield the samples, subset by subset."""
        for subset in self._subsets:
            for number, fields in enumerate(self._samples(subset)):
                question = subset.question(fields)
                seed = f"{self._benchmark.name}/{self._benchmark.version}/{subset.name}/{number}"
                yield Cell(
                    seed,
                    partial(_drawn, question, seed),
                    partial(_scored, question.score),
                    subset.max_new_tokens,
                    subset.stops,
                    subset.min_new_tokens,
                    self._choice.is_chat and not subset.is_bare,
                    {
                        "subset": subset.name,
                        "groups": list(question.groups),
                        "data_checksum": self._checksums[subset.name],
                    },
                    None if question.ask is None else Reasoning(subset.reasoning_tokens, question.ask),
                )

    def _samples(self, subset: Subset) -> Iterator[Fields]:
        return islice(samples_of(subset.path), self._choice.trials)

    def _checked(self, subset: Subset) -> int:
        """Make every question once, so that damage is found before hours are spent, and count them."""
        count = 0
        for fields in self._samples(subset):
            question = subset.question(fields)
            # Scoring, too: what a rule needs may be missing from the answers, or not be installed.
            question.score("")
            if question.ask is not None:
                question.ask("")
            count += 1
        if count == 0:
            raise InputError(f"{subset.path} holds no samples.")
        return count


def _drawn(question: PublishedQuestion, seed: str, encode: Encode) -> EvalSample:
    return EvalSample(encode(question.prompt), (), question.prompt, question.answers, 0.0, seed)


def _scored(score: Callable[[str], float], output: str, sample: EvalSample) -> float:
    return score(output)
