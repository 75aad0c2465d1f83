"""Tables and pictures of runs."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from focusllm.evaluation.intervals import Interval, score_interval
from focusllm.plotting import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from focusllm.evaluation.perplexity_report import PerplexityRun
    from focusllm.evaluation.runs import Run

# What numbers in the names of groups are in, and words that have an order.
_UNITS = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}
_WORDS = {word: place for place, word in enumerate(("easy", "hard", "short", "medium", "long"))}
# Letters of small print that fit an inch, and inches that a line of it takes.
_LETTERS_PER_INCH, _LINE_HEIGHT = 13, 0.17
# Colors come again after ten lines.
_NUM_COLORS, _STROKES = 10, ("-", "--", ":", "-.")
_NOT_DRAWN = (math.nan, math.nan)


@dataclass(frozen=True)
class GroupResult:
    """What a run says about a group of its samples.

    Attributes:
        group: What they have in common: how many tokens they have; of a published benchmark, the subset, or a group
            that the benchmark itself tells apart.
        right: Samples whose answers were all right.
        scores: Score of each sample, 0 to 1.
        seconds: Median seconds of a sample.
    """

    group: Any
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
    def interval(self) -> Interval:
        """Its 95% interval."""
        return score_interval(self.scores)

    @property
    def name(self) -> str:
        """The group, to be read."""
        return self.group if isinstance(self.group, str) else f"{self.group:,}"

    @property
    def full_name(self) -> str:
        """The same where nothing else says what is counted."""
        return self.name if isinstance(self.group, str) else f"{self.name} tokens"


def by_group(records: Sequence[dict[str, Any]]) -> list[GroupResult]:
    """Sum up records: for each length; those of published benchmarks for each subset and each of its own groups."""
    results = []
    for group in _groups(records):
        rows = [record for record in records if group in _groups_of(record)]
        seconds = sorted(record["seconds"] for record in rows)
        right = sum(record["is_right"] for record in rows)
        results.append(GroupResult(group, right, tuple(map(score_of, rows)), seconds[len(seconds) // 2]))
    return results


def _groups(records: Sequence[dict[str, Any]]) -> list[Any]:
    """Return lengths, or subsets and then the benchmark's own groups, each in order."""
    if not is_published(records):
        return sorted({record["length"] for record in records})
    own = {group for record in records for group in record["groups"]}
    return [*dict.fromkeys(record["subset"] for record in records), *sorted(own, key=_in_order)]


def _groups_of(record: dict[str, Any]) -> list[Any]:
    return [record["subset"], *record["groups"]] if "subset" in record else [record["length"]]


def _in_order(group: str) -> list[tuple[int, int, str]]:
    """Return a key by which 2k comes before 16k and 1M, and short before medium before long."""
    found = re.findall(r"(\d+)([kKM]?)|(\D+)", group)
    return [
        (0, int(number) * _UNITS[unit], "") if number else (1, _WORDS.get(text, 0), text)
        for number, unit, text in found
    ]


def is_published(records: Sequence[dict[str, Any]]) -> bool:
    """Tell samples of a published benchmark, which come from files, from generated ones."""
    return any("subset" in record for record in records)


def has_depths(records: Sequence[dict[str, Any]]) -> bool:
    """Tell whether all samples say how deep in the text their answers stand, so that there can be a heat map."""
    return all("depth" in record for record in records)


def mean_of_subsets(records: Sequence[dict[str, Any]]) -> tuple[int, float] | None:
    """Return the number of a published benchmark's subsets and the mean of their scores; ``None`` where it has one."""
    subsets = {record["subset"] for record in records if "subset" in record}
    scores = [result.score for result in by_group(records) if result.group in subsets]
    return (len(scores), sum(scores) / len(scores)) if len(scores) > 1 else None


def score_of(record: dict[str, Any]) -> float:
    """Return a sample's score; runs of earlier versions only say whether it was right."""
    return float(record["score"] if "score" in record else record["is_right"])


def markdown_table(records: Sequence[dict[str, Any]]) -> str:
    """Write what records say as a Markdown table."""
    kind = "subset" if is_published(records) else "tokens"
    table = [[kind, "right", "n", "score", "95% interval", "median seconds"]]
    for result in by_group(records):
        low, high = result.interval
        counts = [result.name, str(result.right), str(result.trials)]
        table.append([*counts, f"{result.score:.1%}", f"{low:.1%} to {high:.1%}", f"{result.seconds:.2f}"])
    if (found := mean_of_subsets(records)) is not None:
        count, mean = found
        table.append([f"mean of {count} subsets", "", "", f"{mean:.1%}", "", ""])
    return as_markdown(table) + "\n"


def as_markdown(table: Sequence[Sequence[str]]) -> str:
    """Write rows of cells, the first one the head, as a Markdown table."""
    head, *rows = [f"| {' | '.join(map(in_markdown, row))} |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows])


def in_markdown(text: str) -> str:
    """Write a text so that strokes in it end no cell of a table, and nothing in it is taken for a tag of HTML."""
    return re.sub(r"[|<]", r"\\\g<0>", text)


def csv_table(runs: "Sequence[Run]", texts: "Sequence[PerplexityRun]") -> str:
    """Write all runs as one CSV table, a line for each length, or subset, of each.

    Of runs over texts there is a line for each range of positions, called by its end: the score is the perplexity, and
    n counts tokens.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("task", "system", "group", "right", "n", "score", "low", "high", "median_seconds"))
    for run in runs:
        for result in run.results:
            numbers = (result.score, *result.interval, result.seconds)
            row = (run.task, run.label, result.group, result.right, result.trials, *(f"{x:.4f}" for x in numbers))
            writer.writerow(row)
    for run in texts:
        for place in run.results:
            ends = ("", "") if place.interval is None else (f"{x:.4f}" for x in place.interval)
            writer.writerow((run.task, run.label, place.end, "", place.count, f"{place.perplexity:.4f}", *ends, ""))
    return text.getvalue()


def draw_heat_map(records: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw the score by length and depth as a PNG; see :func:`heat_map`."""
    save_figure(heat_map(records, title), path)


def heat_map(records: Sequence[dict[str, Any]], title: str) -> "Figure":
    """Draw the score by length and depth.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lengths = sorted({record["length"] for record in records})
    depths = sorted({record["depth"] for record in records})
    width = max(1.6 + 0.9 * len(lengths), 4.0)
    title = fill(title, int(_LETTERS_PER_INCH * width))
    figure = new_figure(width, 1.8 + 0.35 * len(depths) + _LINE_HEIGHT * title.count("\n"))
    axes = figure.subplots()
    image = axes.imshow(
        [[_mean(records, length, depth) for length in lengths] for depth in depths],
        vmin=0, vmax=1, aspect="auto", cmap="RdYlBu",
    )  # fmt: skip
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths], rotation=45, ha="right")
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axes.set_xlabel("tokens")
    axes.set_ylabel("depth of the fact")
    axes.set_title(in_plain_letters(title), fontsize=10)
    figure.colorbar(image, label="score")
    return figure


def curves(runs: "Sequence[Run]", title: str) -> "Figure":
    """Draw the scores of several systems over the length, with their intervals.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lines = [Curve(run.label, [(one.group, one.score, one.interval) for one in run.results]) for run in runs]
    figure = draw_curves(lines, title, "tokens", "score")
    figure.axes[0].set_ylim(-0.02, 1.02)
    return figure


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    Attributes:
        label: What it is called.
        points: Place, value and interval, if there is one, of each point.
    """

    label: str
    points: list[tuple[int, float, Interval | None]]


def draw_curves(curves: Sequence[Curve], title: str, x_name: str, y_name: str) -> "Figure":
    """Draw values over numbers of tokens that double, with their intervals; the names stand below.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    width = 7.0
    letters = int(_LETTERS_PER_INCH * width)
    names = [fill(curve.label, letters - 10) for curve in curves]
    columns = max(letters // (max(map(len, names)) + 10), 1)
    rows = math.ceil(sum(name.count("\n") + 1 for name in names) / columns)
    figure = new_figure(width, 3.6 + _LINE_HEIGHT * rows)
    axes = figure.subplots()
    for number, (curve, name) in enumerate(zip(curves, names, strict=True)):
        places, values, intervals = zip(*curve.points, strict=True)
        strokes = _STROKES[number // _NUM_COLORS % len(_STROKES)]
        [line] = axes.plot(places, values, marker="o", linestyle=strokes, label=in_plain_letters(name))
        low, high = zip(*(_NOT_DRAWN if one is None else one for one in intervals), strict=True)
        axes.fill_between(places, low, high, alpha=0.15, color=line.get_color())
        # The area of a single place has no width.
        axes.vlines(places, low, high, alpha=0.4, color=line.get_color())
    axes.set_xscale("log", base=2)
    ticks = sorted({place for curve in curves for place, *_ in curve.points})
    axes.set_xticks(ticks, [f"{place:,}" for place in ticks], rotation=45, ha="right")
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.set_title(in_plain_letters(title), fontsize=10)
    # Within the axes, many or long names would hide what they are the names of.
    figure.legend(fontsize=8, loc="outside lower center", ncols=columns)
    return figure


def in_plain_letters(name: str) -> str:
    """Write a name so that figures show dollars in it, and take nothing between them for a formula."""
    return name.replace("$", r"\$")


def _mean(records: Sequence[dict[str, Any]], length: int, depth: float) -> float:
    cell = [score_of(record) for record in records if record["length"] == length and record["depth"] == depth]
    return sum(cell) / len(cell) if cell else float("nan")
