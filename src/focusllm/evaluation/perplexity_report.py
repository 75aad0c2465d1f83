"""Runs of ``focusllm perplexity``, read again, and what reports say of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focusllm.evaluation.perplexity import SEGMENTS_NAME, PositionResult, Segment, by_position
from focusllm.evaluation.report import Curve, draw_curves
from focusllm.evaluation.runs import WrittenRun, read_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Perplexities whose digits nobody reads, and a ratio of two that leaves the smaller ones on the axis.
_MANY, _FAR_OFF = 1e6, 10


@dataclass(frozen=True)
class PerplexityRun(WrittenRun):
    """One run over one text.

    Attributes:
        segments: Its segments.
    """

    segments: list[Segment]

    @property
    def task(self) -> str:
        """The text and its segments; runs over the same ones can be compared: shorter ones have fresher candidates."""
        text = f"{self.header['num_tokens']:,} tokens ({self.header['text_checksum'][:8]})"
        return f"perplexity, {text}, segments of {self.header['stride']:,}"

    @cached_property
    def results(self) -> list[PositionResult]:
        """Perplexity between positions that double."""
        return by_position(self.segments, self.header["window"])


def find_perplexities(paths: Sequence[Path]) -> list[PerplexityRun]:
    """Read all runs over texts in files and folders, and in folders in these, by texts, in the order of the paths.

    Raises:
        InputError: A file is not a run's.
    """
    found = ([path] if path.name == SEGMENTS_NAME else path.rglob(SEGMENTS_NAME) for path in paths)
    return read_runs(found, _made, "segments")


def _made(path: Path, header: dict[str, Any], records: list[dict[str, Any]]) -> PerplexityRun:
    return PerplexityRun(path, header, header["system"], [Segment(**record) for record in records])


def perplexities(runs: Sequence[PerplexityRun]) -> list[list[str]]:
    """Return a table: a row for each system, a column for each range of positions."""
    ranges = sorted({(result.start, result.end) for run in runs for result in run.results})
    table = [["perplexity by position, 95% interval, tokens", *(f"{start:,} to {end:,}" for start, end in ranges)]]
    for run in runs:
        own = {(result.start, result.end): result for result in run.results}
        table.append([run.label, *(_cell(own.get(place)) for place in ranges)])
    return table


def _cell(result: PositionResult | None) -> str:
    if result is None:
        return ""
    interval = f"none, segments: {result.num_segments}"
    if result.interval is not None:
        interval = ", ".join(map(_in_few_digits, result.interval))
    return f"{_in_few_digits(result.perplexity)} [{interval}] n={result.count:,}"


def _in_few_digits(perplexity: float) -> str:
    return f"{perplexity:.2f}" if perplexity < _MANY else f"{perplexity:.2e}"


def perplexity_curves(runs: Sequence[PerplexityRun], title: str) -> "Figure":
    """Draw perplexity by position, with intervals; where one system is far off, in orders of magnitude.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lines = [Curve(run.label, [(one.end, one.perplexity, one.interval) for one in run.results]) for run in runs]
    figure = draw_curves(lines, title, "up to position", "perplexity")
    values = [value for line in lines for _, value, _ in line.points if math.isfinite(value)]
    if values and max(values) > _FAR_OFF * min(values):
        figure.axes[0].set_yscale("log")
    return figure
