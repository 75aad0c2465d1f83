"""Runs that were written by ``focusllm eval``, read again."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from focusllm.errors import InputError
from focusllm.evaluation.intervals import paired_difference
from focusllm.evaluation.perplexity import SEGMENTS_NAME
from focusllm.evaluation.report import GroupResult, by_group, score_of

SAMPLES_NAME = "samples.jsonl"


@dataclass(frozen=True)
class WrittenRun:
    """What runs of every kind have.

    Attributes:
        path: Its file.
        header: What it says of itself: task, system, settings.
        label: The system, as reports call it.
    """

    path: Path
    header: dict[str, Any]
    label: str

    @property
    def task(self) -> str:
        """What it measures; runs of one task can be compared."""
        raise NotImplementedError

    @property
    def order(self) -> tuple[tuple[str, ...], int]:
        """Where it stands among the runs of a folder: by its own; systems that were run together, as they were then."""
        folder, place = self.path.parent, self.header.get("place")
        return (folder.parts, 0) if place is None else (folder.parent.parts, place)

    @cached_property
    def results(self) -> list[Any]:
        """What it says, summed up."""
        raise NotImplementedError


R = TypeVar("R", bound=WrittenRun)


@dataclass(frozen=True)
class Run(WrittenRun):
    """One run over samples.

    Attributes:
        records: Its samples.
    """

    records: list[dict[str, Any]]

    @property
    def task(self) -> str:
        """The task; of a published benchmark, how it was run as well: other ways are other tasks."""
        return title_of(self.header)

    @cached_property
    def results(self) -> list[GroupResult]:
        """What it says about each length, or each subset."""
        return by_group(self.records)

    def difference_to(self, other: "Run") -> tuple[int, float, tuple[float, float]] | None:
        """Compare with another system on the samples both have: their number, the difference and its 95% interval.

        Subsets of a published benchmark count alike, as in the mean of their scores.
        """
        ours, theirs = ({_sample_of(one): one for one in run.records} for run in (self, other))
        both = [sample for sample in ours if sample in theirs]
        if not both:
            return None
        scores, others = ([score_of(run[sample]) for sample in both] for run in (ours, theirs))
        return len(both), *paired_difference(scores, others, [ours[sample].get("subset") for sample in both])


def _sample_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a sample from others: beside its seed, its depth, or the file it comes from."""
    return record["seed"], record.get("depth"), record.get("data_checksum")


def title_of(header: dict[str, Any]) -> str:
    """Return what a run measures: its task and version, and of a published benchmark how it was run."""
    if "protocol" not in header:
        version = header.get("task_version", 1)
        return header["task"] if version == 1 else f"{header['task']}, version {version}"
    templates = f", {header['templates']} templates" if "templates" in header else ""
    chat, reasoning = ", chat" if header["is_chat"] else "", ", reasoning" if "reasoning" in header else ""
    return f"{header['task']}, {header['protocol']} protocol{templates}{chat}{reasoning}"


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Read all runs in files and folders, and in folders in these, by their tasks, in the order of the paths.

    Runs over texts are passed over; see :func:`~focusllm.evaluation.perplexity_report.find_perplexities`.

    Raises:
        InputError: There is none, or a file is not a run's.
    """
    named: list[list[Path]] = []
    for path in paths:
        found = [path] if path.is_file() else [*path.rglob(SAMPLES_NAME), *path.rglob(SEGMENTS_NAME)]
        if not found:
            raise InputError(f"There are no runs at {path}: `focusllm eval` writes them as {SAMPLES_NAME}.")
        named.append([file for file in found if file.name != SEGMENTS_NAME])
    return read_runs(named, lambda path, header, records: Run(path, header, header["system"], records), "samples")


def read_runs(
    named: Iterable[Iterable[Path]], make: Callable[[Path, dict[str, Any], list[dict[str, Any]]], R], what: str
) -> list[R]:
    """Read files of runs, by their tasks; two of one task and system are told apart by their folders.

    Args:
        named: The files at each path that was named, in the order of these.
        make: Makes a run, a dataclass, of a file's path, first line and other lines.
        what: What the other lines are, for errors.

    Raises:
        InputError: A file is not a run's, or holds nothing yet.
    """
    runs, known = [], set[Path]()
    for files in named:
        # However a file is named, it is one run.
        new = {path.resolve(): path for path in files if path.resolve() not in known}
        known.update(new)
        runs += sorted((_read(path, make, what) for path in new.values()), key=attrgetter("order", "path"))
    runs.sort(key=attrgetter("task"))
    alike: dict[tuple[str, str], list[Path]] = {}
    for run in runs:
        alike.setdefault((run.task, run.label), []).append(run.path)
    places = {path: place for paths in alike.values() if len(paths) > 1 for path, place in _told_apart(paths).items()}
    return [replace(run, label=f"{run.label}, {places[run.path]}") if run.path in places else run for run in runs]


def _told_apart(files: Sequence[Path]) -> dict[Path, str]:
    """Return of each file's folders the last ones, as many as it takes for no two to be the same."""
    folders = {file: file.resolve().parent.parts for file in files}
    for count in range(1, max(map(len, folders.values())) + 1):
        names = {file: "/".join(parts[-count:]) for file, parts in folders.items()}
        if len(set(names.values())) == len(names):
            return names
    # Files of one folder.
    return {file: str(file) for file in files}


def _read(path: Path, make: Callable[[Path, dict[str, Any], list[dict[str, Any]]], R], what: str) -> R:
    try:
        header, *records = _lines_of(path.read_text(encoding="utf-8"))
        run = make(path, header, records)
        # Both are kept, or looked up, anyway; what has neither is no run.
        _ = run.task, records and run.results
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a run's file: {type(error).__name__}: {error}") from error
    if not records:
        raise InputError(f"{path} holds no {what} yet.")
    return run


def _lines_of(text: str) -> list[Any]:
    """Return what the lines of a file say, without the last one if its writing was cut short, or is still going on."""
    *lines, rest = text.split("\n")
    said = [json.loads(line) for line in lines]
    try:
        return [*said, json.loads(rest)]
    except json.JSONDecodeError:
        return said
