"""Runs of ``focusllm perplexity``, read again, and what reports say of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focusllm.errors import InputError
from focusllm.evaluation.perplexity import SEGMENTS_NAME, PositionResult, Segment, by_position
from focusllm.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PerplexityRun:
    """One run over one text.

    Attributes:
        path: Its file.
        header: What it says of itself: system, settings, the text's checksum.
        segments: Its segments.
        label: The system, as reports call it.
    """

    path: Path
    header: dict[str, Any]
    segments: list[Segment]
    label: str

    @property
    def text(self) -> str:
        """The text, by which runs can be compared."""
        return f"perplexity, {self.header['num_tokens']:,} tokens ({self.header['text_checksum'][:8]})"

    @cached_property
    def results(self) -> list[PositionResult]:
        """Perplexity between positions that double."""
        return by_position(self.segments, self.header["window"])


def find_perplexities(paths: Sequence[Path]) -> list[PerplexityRun]:
    """Read all runs over texts in files and folders, and in folders in these, in the order of their texts.

    Raises:
        InputError: A file is not a run's.
    """
    found = [[path] if path.name == SEGMENTS_NAME else sorted(path.rglob(SEGMENTS_NAME)) for path in paths]
    runs = sorted(map(_read, dict.fromkeys(file for files in found for file in files)), key=lambda run: run.text)
    labels = [(run.text, run.label) for run in runs]
    return [
        replace(run, label=f"{run.label}, {run.path.parent.name}") if labels.count((run.text, run.label)) > 1 else run
        for run in runs
    ]


def _read(path: Path) -> PerplexityRun:
    try:
        header, *records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        run = PerplexityRun(path, header, [Segment(**record) for record in records], header["system"])
        if not records:
            raise InputError(f"{path} holds no segments yet.")
        # Both are kept, or looked up, anyway; what has neither is no run.
        _ = run.text, run.results
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a run's file: {error}") from error
    return run


def by_text(runs: Sequence[PerplexityRun]) -> Iterator[tuple[str, list[PerplexityRun]]]:
    """Yield the runs over each text."""
    for text, group in groupby(runs, lambda run: run.text):
        yield text, list(group)


def perplexities(runs: Sequence[PerplexityRun]) -> list[list[str]]:
    """Return a table: a row for each system, a column for each range of positions."""
    ranges = sorted({(result.start, result.end) for run in runs for result in run.results})
    table = [["perplexity, 95% interval, tokens", *(f"{start:,} to {end:,}" for start, end in ranges)]]
    for run in runs:
        own = {(result.start, result.end): result for result in run.results}
        table.append([run.label, *(_cell(own.get(place)) for place in ranges)])
    return table


def _cell(result: PositionResult | None) -> str:
    if result is None:
        return ""
    low, high = result.interval
    return f"{result.perplexity:.2f} [{low:.2f}, {high:.2f}] n={result.count:,}"


def perplexity_curves(runs: Sequence[PerplexityRun], title: str) -> "Figure":
    """Draw perplexity by position, with intervals.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    for run in runs:
        ends = [result.end for result in run.results]
        low, high = zip(*(result.interval for result in run.results), strict=True)
        [line] = axes.plot(ends, [result.perplexity for result in run.results], marker="o", label=run.label)
        axes.fill_between(ends, low, high, alpha=0.15, color=line.get_color())
    axes.set_xscale("log", base=2)
    ticks = sorted({result.end for run in runs for result in run.results})
    axes.set_xticks(ticks, [f"{end:,}" for end in ticks], rotation=45, ha="right")
    axes.set_xlabel("up to position")
    axes.set_ylabel("perplexity")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure
