"""BABILong: bAbI's stories, sentence by sentence, in the text of books.

Source: Kuratov and others, arXiv 2406.10149; prompts, labels and data are the user's files, the rules those of the
repository (booydar/babilong, commit 7a6efee2; Apache-2.0) in our own words. Version 1.
"""

import re
from collections.abc import Collection
from functools import partial
from pathlib import Path

from focusllm.evaluation.published.benchmark import PublishedBenchmark, PublishedQuestion, Subset, entry
from focusllm.evaluation.published.files import Fields, found, python_value
from focusllm.evaluation.published.templates import filled

_MAX_NEW_TOKENS = 20
_LENGTHS = ("0k", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M", "10M")


def names_only(output: str, target: str, question: str, labels: Collection[str]) -> bool:
    """Tell whether the target is the only label that an output's first sentence names, beside those of the question.

    Args:
        output: What was written.
        target: The right label, or several with commas between them, all of which must be named.
        question: Labels it names are never right, and do not count.
        labels: All labels of the task. Where one is part of another, such as "one" of "none", they count as words only.
    """
    # The original cuts at "Question" too, but in lower case there is none.
    said = output.lower().split(".")[0].split("<context>")[0].split("<example>")[0]
    known, wanted = set(map(str.lower, labels)), target.lower()
    # Directions such as "n,w" have a comma and are one label.
    targets = {wanted} if wanted in known else set(wanted.split(","))
    edge = r"\b" if any(one != other and one in other for one in known for other in known) else ""

    def named(text: str) -> set[str]:
        return {label for label in known if re.search(f"{edge}{re.escape(label)}{edge}", text)}

    return named(said) - named(question.lower()) == targets


class Babilong(PublishedBenchmark):
    """BABILong; a subset is a task at a length, such as ``qa1-4k``; see :class:`PublishedBenchmark`."""

    name = "babilong"

    def __init__(
        self, folder: Path, protocol: str = "official", templates: str | None = None, reasons: bool = False
    ) -> None:
        super().__init__(folder, protocol, templates, reasons)
        self._prompts = found(folder, ["babilong/prompts.py", "prompts.py"], "prompt file")
        self._metrics = found(folder, ["babilong/metrics.py", "metrics.py"], "file of labels")
        self._template = python_value(self._prompts, "DEFAULT_TEMPLATE")
        self._parts = python_value(self._prompts, "DEFAULT_PROMPTS")
        self._labels = python_value(self._metrics, "TASK_LABELS")

    @property
    def prompt_files(self) -> tuple[Path, ...]:
        """The files that templates and labels were read from."""
        return self._prompts, self._metrics

    @property
    def subset_names(self) -> tuple[str, ...]:
        """All tasks that the repository has prompts and labels for, at all lengths."""
        tasks = [task for task in self._parts if task in self._labels]
        return tuple(f"{task}-{length}" for task in tasks for length in _LENGTHS)

    def places(self, subset: str) -> tuple[str, ...]:
        """Return where in the folder the data of a subset may be."""
        task, length = subset.split("-")
        return tuple(f"{place}{task}/{length}.{kind}" for place in ("data/", "") for kind in ("json", "jsonl"))

    def subset(self, subset: str, path: Path) -> Subset:
        """Return a subset whose data are at a path."""
        return Subset(subset, path, _MAX_NEW_TOKENS, partial(self._question, *subset.split("-")))

    def _question(self, task: str, length: str, sample: Fields) -> PublishedQuestion:
        parts = entry(self._parts, task, self._prompts, dict)
        # Versions of the repository have one or the other.
        labels = entry(self._labels, task, self._metrics, set if isinstance(self._labels.get(task), set) else list)
        question, target = sample.text("question"), sample.text("target")
        values = {**parts, "context": sample.text("input").strip(), "question": question}
        return PublishedQuestion(
            filled(self._template, values).strip(),
            (target,),
            lambda output: float(names_only(output, target, question, labels)),
            (f"all tasks, {length}",),
        )
