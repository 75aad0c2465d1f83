"""What an ablation says: a table and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from focusllm.ablations.run import Records
from focusllm.ablations.settings import Ablation
from focusllm.evaluation.intervals import paired_difference, score_interval
from focusllm.evaluation.report import as_markdown, in_plain_letters, score_of
from focusllm.plotting import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Letters of a variant's name in a line beside a figure.
_NAME_LETTERS = 36


@dataclass(frozen=True)
class Outcome:
    """How a variant did at one length of one task.

    Attributes:
        variant: Its name.
        task: The task.
        length: Tokens of a sample.
        scores: Score of each sample, by training seed and by the sample's own.
        reference: The same of the first variant, for the seeds this one has.
    """

    variant: str
    task: str
    length: int
    scores: dict[tuple[int, str], float]
    reference: dict[tuple[int, str], float]

    @property
    def score(self) -> float:
        """The mean over all samples and seeds."""
        return sum(self.scores.values()) / len(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95% interval, over samples: what seeds are asked is the same, so they make no more of them."""
        return score_interval(_means(self.scores, of_samples=True))

    @property
    def by_seed(self) -> list[float]:
        """The mean of each training seed."""
        return _means(self.scores, of_samples=False)

    @property
    def difference(self) -> tuple[float, tuple[float, float]]:
        """By how much it is better than the first variant on samples and seeds both have, and the 95% interval."""
        both = [key for key in self.scores if key in self.reference]
        ours, others = ({key: scores[key] for key in both} for scores in (self.scores, self.reference))
        return paired_difference(_means(ours, of_samples=True), _means(others, of_samples=True))


def _means(scores: Mapping[tuple[int, str], float], of_samples: bool) -> list[float]:
    """Return the mean of each sample over its seeds, or of each seed over its samples, in order."""
    found: dict[Any, list[float]] = {}
    for (seed, sample), score in scores.items():
        found.setdefault(sample if of_samples else seed, []).append(score)
    return [sum(some) / len(some) for _, some in sorted(found.items())]


def outcomes(ablation: Ablation, records: Records) -> Iterator[Outcome]:
    """Sum up every variant at every length of every task."""
    first = ablation.variants[0].name
    for task in ablation.tasks:
        for length in ablation.lengths:
            reference = _scores(records, first, task, length)
            for variant in ablation.variants:
                scores = reference if variant.name == first else _scores(records, variant.name, task, length)
                yield Outcome(variant.name, task, length, scores, reference)


def _scores(records: Records, variant: str, task: str, length: int) -> dict[tuple[int, str], float]:
    return {
        (seed, record["seed"]): score_of(record)
        for (its_variant, its_task, seed), run in records.items()
        if (its_variant, its_task) == (variant, task)
        for record in run
        if record["length"] == length
    }


def ablation_table(found: Sequence[Outcome]) -> str:
    """Write outcomes as a Markdown table."""
    table = [
        ["task", "tokens", "variant", "n", "score", "95% interval", "by seed", "against the first", "95% interval"]
    ]
    for outcome in found:
        low, high = outcome.interval
        score = [f"{len(outcome.scores)}", f"{outcome.score:.1%}", f"{low:.1%} to {high:.1%}"]
        by_seed = ", ".join(f"{share:.0%}" for share in outcome.by_seed)
        table.append([outcome.task, f"{outcome.length:,}", outcome.variant, *score, by_seed, *_compared(outcome)])
    return as_markdown(table) + "\n"


def _compared(outcome: Outcome) -> list[str]:
    if outcome.scores is outcome.reference:
        return ["", ""]
    difference, (low, high) = outcome.difference
    return [f"{difference:+.1%}", f"{low:+.1%} to {high:+.1%}"]


def draw_ablation(found: Sequence[Outcome]) -> "Figure":
    """Draw the score of every variant with its interval, a panel for each task.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    tasks, variants = _in_order([o.task for o in found]), _in_order([o.variant for o in found])
    figure = new_figure(3.0 + 3.2 * len(tasks), 1.4 + 0.45 * len(variants))
    panels: Any = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        lengths = _in_order([o.length for o in found if o.task == task])
        for number, length in enumerate(lengths):
            rows = [o for o in found if (o.task, o.length) == (task, length)]
            # Lengths stand one below the other within a variant's line.
            places = [variants.index(o.variant) + 0.6 * ((number + 0.5) / len(lengths) - 0.5) for o in rows]
            scores = [o.score for o in rows]
            # Rounding may put a score outside its interval by the last digit.
            ends = [(max(o.score - o.interval[0], 0), max(o.interval[1] - o.score, 0)) for o in rows]
            errors = list(zip(*ends, strict=True))
            axes.errorbar(scores, places, xerr=errors, fmt="o", markersize=4, label=f"{length:,} tokens")
        axes.set_title(task, fontsize=10)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("score")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(variants)), [in_plain_letters(fill(name, _NAME_LETTERS)) for name in variants])
    panels[0].invert_yaxis()
    # Lengths are the same in all panels, and within one their names would hide what they are the names of.
    figure.legend(*panels[-1].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=2)
    return figure


def _in_order(values: Sequence[Any]) -> list[Any]:
    """Return each value once, in the order in which they come first."""
    return list(dict.fromkeys(values))
