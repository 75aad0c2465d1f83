"""Tables and heat maps of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focusllm.evaluation.intervals import wilson_interval
from focusllm.plotting import new_figure


@dataclass(frozen=True)
class LengthResult:
    """What a run says about one length.

    Attributes:
        length: Tokens of a sample.
        right: Right answers.
        trials: Samples.
        seconds: Median seconds of a sample.
    """

    length: int
    right: int
    trials: int
    seconds: float

    @property
    def share(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95% interval."""
        return wilson_interval(self.right, self.trials)


def by_length(records: Sequence[dict[str, Any]]) -> list[LengthResult]:
    """Sum up records for each length."""
    results = []
    for length in sorted({record["length"] for record in records}):
        rows = [record for record in records if record["length"] == length]
        seconds = sorted(record["seconds"] for record in rows)
        right = sum(record["is_right"] for record in rows)
        results.append(LengthResult(length, right, len(rows), seconds[len(seconds) // 2]))
    return results


def markdown_table(results: Sequence[LengthResult]) -> str:
    """Write the results as a Markdown table."""
    lines = ["| tokens | right | n | share | 95% interval | median seconds |", "|---|---|---|---|---|---|"]
    for result in results:
        low, high = result.interval
        lines.append(
            f"| {result.length:,} | {result.right} | {result.trials} | {result.share:.1%} "
            f"| {low:.1%} to {high:.1%} | {result.seconds:.2f} |"
        )
    return "\n".join(lines) + "\n"


def draw_heat_map(records: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw the share of right answers by length and depth as a PNG.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lengths = sorted({record["length"] for record in records})
    depths = sorted({record["depth"] for record in records})
    figure = new_figure(1.6 + 0.9 * len(lengths), 1.8 + 0.35 * len(depths))
    axes = figure.subplots()
    image = axes.imshow(
        [[_share(records, length, depth) for length in lengths] for depth in depths],
        vmin=0, vmax=1, aspect="auto", cmap="RdYlGn",
    )  # fmt: skip
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths], rotation=45, ha="right")
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axes.set_xlabel("tokens")
    axes.set_ylabel("depth of the fact")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="share of right answers")
    figure.savefig(path, dpi=120)


def _share(records: Sequence[dict[str, Any]], length: int, depth: float) -> float:
    cell = [record["is_right"] for record in records if record["length"] == length and record["depth"] == depth]
    return sum(cell) / len(cell) if cell else float("nan")
