"""Tables and pictures of runs."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focusllm.evaluation.intervals import score_interval
from focusllm.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from focusllm.evaluation.runs import Run


@dataclass(frozen=True)
class LengthResult:
    """What a run says about one length.

    Attributes:
        length: Tokens of a sample.
        right: Samples whose answers were all right.
        scores: Score of each sample, 0 to 1.
        seconds: Median seconds of a sample.
    """

    length: int
    right: int
    scores: tuple[float, ...]
    seconds: float

    @property
    def trials(self) -> int:
        """How many samples there are."""
        return len(self.scores)

    @property
    def score(self) -> float:
        """The mean score, 0 to 1; where a sample has one answer, the share of right ones."""
        return sum(self.scores) / len(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95% interval."""
        return score_interval(self.scores)


def by_length(records: Sequence[dict[str, Any]]) -> list[LengthResult]:
    """Sum up records for each length."""
    results = []
    for length in sorted({record["length"] for record in records}):
        rows = [record for record in records if record["length"] == length]
        seconds = sorted(record["seconds"] for record in rows)
        right = sum(record["is_right"] for record in rows)
        results.append(LengthResult(length, right, tuple(map(score_of, rows)), seconds[len(seconds) // 2]))
    return results


def score_of(record: dict[str, Any]) -> float:
    """Return a sample's score; runs of earlier versions only say whether it was right."""
    return float(record["score"] if "score" in record else record["is_right"])


def markdown_table(results: Sequence[LengthResult]) -> str:
    """Write the results as a Markdown table."""
    table = [["tokens", "right", "n", "score", "95% interval", "median seconds"]]
    for result in results:
        low, high = result.interval
        counts = [f"{result.length:,}", str(result.right), str(result.trials)]
        table.append([*counts, f"{result.score:.1%}", f"{low:.1%} to {high:.1%}", f"{result.seconds:.2f}"])
    return as_markdown(table) + "\n"


def as_markdown(table: Sequence[Sequence[str]]) -> str:
    """Write rows of cells, the first one the head, as a Markdown table."""
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows])


def csv_table(runs: "Sequence[Run]") -> str:
    """Write all runs as one CSV table, a line for each length of each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("task", "system", "tokens", "right", "n", "score", "low", "high", "median_seconds"))
    for run in runs:
        for result in run.results:
            numbers = (result.score, *result.interval, result.seconds)
            row = (run.task, run.label, result.length, result.right, result.trials, *(f"{x:.4f}" for x in numbers))
            writer.writerow(row)
    return text.getvalue()


def draw_heat_map(records: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw the score by length and depth as a PNG; see :func:`heat_map`."""
    heat_map(records, title).savefig(path, dpi=120)


def heat_map(records: Sequence[dict[str, Any]], title: str) -> "Figure":
    """Draw the score by length and depth.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lengths = sorted({record["length"] for record in records})
    depths = sorted({record["depth"] for record in records})
    figure = new_figure(1.6 + 0.9 * len(lengths), 1.8 + 0.35 * len(depths))
    axes = figure.subplots()
    image = axes.imshow(
        [[_mean(records, length, depth) for length in lengths] for depth in depths],
        vmin=0, vmax=1, aspect="auto", cmap="RdYlGn",
    )  # fmt: skip
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths], rotation=45, ha="right")
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axes.set_xlabel("tokens")
    axes.set_ylabel("depth of the fact")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="score")
    return figure


def curves(runs: "Sequence[Run]", title: str) -> "Figure":
    """Draw the scores of several systems over the length, with their intervals.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    for run in runs:
        lengths = [result.length for result in run.results]
        low, high = zip(*(result.interval for result in run.results), strict=True)
        [line] = axes.plot(lengths, [result.score for result in run.results], marker="o", label=run.label)
        axes.fill_between(lengths, low, high, alpha=0.15, color=line.get_color())
    axes.set_xscale("log", base=2)
    ticks = sorted({result.length for run in runs for result in run.results})
    axes.set_xticks(ticks, [f"{length:,}" for length in ticks], rotation=45, ha="right")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("tokens")
    axes.set_ylabel("score")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure


def _mean(records: Sequence[dict[str, Any]], length: int, depth: float) -> float:
    cell = [score_of(record) for record in records if record["length"] == length and record["depth"] == depth]
    return sum(cell) / len(cell) if cell else float("nan")
