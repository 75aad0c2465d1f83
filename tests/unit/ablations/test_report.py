"""What an ablation's table says, against sums made by hand."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from focusllm.ablations.report import ablation_table, draw_ablation, outcomes
from focusllm.ablations.run import Records
from focusllm.ablations.settings import Ablation, Variant


def run(*scores: float, length: int = 100) -> list[dict]:
    return [{"seed": f"{length}/{n}", "length": length, "score": score} for n, score in enumerate(scores)]


ABLATION = Ablation(
    Path("recipe.yaml"), Path("out"), (Variant("whole"), Variant("half", {"steps": 1}, seeds=1)),
    tasks=("passkey",), lengths=(100, 200), seeds=2,
)  # fmt: skip
RECORDS: Records = {
    ("whole", "passkey", 0): run(1, 1, 0, 1) + run(1, 1, length=200),
    ("whole", "passkey", 1): run(0, 0, 0, 0) + run(1, 1, length=200),
    ("half", "passkey", 0): run(0, 1, 0, 0) + run(1, 1, length=200),
}


def test_seeds_are_put_together_and_variants_compared_on_the_seeds_both_have() -> None:
    whole, half, *_ = outcomes(ABLATION, RECORDS)
    assert (whole.score, whole.by_seed) == (3 / 8, [0.75, 0.0])
    assert (half.score, half.by_seed) == (0.25, [0.25])
    # Only seed 0 counts on both sides: 0.25 against 0.75, not against 3 of 8.
    difference, (low, high) = half.difference
    assert difference == pytest.approx(-0.5)
    assert (low, high) == (pytest.approx(-0.789, abs=1e-3), pytest.approx(0.135, abs=1e-3))


def test_seeds_that_are_asked_the_same_make_no_more_samples_of_it() -> None:
    """Four runs that agree in every sample tell as much as one of them, though each counts."""
    one = next(outcomes(ABLATION, {("whole", "passkey", 0): run(1, 1, 0, 1)}))
    four = next(outcomes(ABLATION, {("whole", "passkey", seed): run(1, 1, 0, 1) for seed in range(4)}))
    assert (len(one.scores), len(four.scores)) == (4, 16)
    assert one.interval == four.interval


def test_the_table_has_a_line_for_each_and_compares_the_first_with_nothing() -> None:
    lines = ablation_table(list(outcomes(ABLATION, RECORDS))).splitlines()
    assert len(lines) == 2 + 4
    assert lines[2].startswith("| passkey | 100 | whole | 8 | 37.5% | 12.5% to 50.0% | 75%, 0% |")
    assert lines[2].endswith("|  |  |")
    assert lines[3].endswith("| -50.0% | -78.9% to +13.5% |")
    # Two samples that both variants get right leave much room for a difference.
    assert lines[5].endswith("| +0.0% | -65.8% to +65.8% |")


def test_samples_of_an_earlier_run_that_the_first_variant_lacks_are_not_compared() -> None:
    """An ablation that is run again with fewer samples, and another first variant, finds the others' of before."""
    first, second = run(1, 0), run(0, 0, 1, 1)
    more = {("whole", "passkey", 0): first, ("whole", "passkey", 1): first, ("half", "passkey", 0): second}
    _, half = outcomes(replace(ABLATION, lengths=(100,)), more)
    assert half.score == 0.5
    assert half.difference[0] == pytest.approx(-0.5)


@pytest.mark.parametrize("score", [0.0, 0.1, 0.3, 1.0])
def test_scores_that_are_all_the_same_are_drawn(score: float) -> None:
    """The mean of equal scores and the ends of its interval differ in the last digit at some counts."""
    for count in range(1, 40):
        record = {("whole", "passkey", 0): run(*[score] * count), ("half", "passkey", 0): run(*[score] * count)}
        figure = draw_ablation(list(outcomes(replace(ABLATION, lengths=(100,)), record)))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["whole", "half"]
    figure.savefig(io.BytesIO())


def test_names_are_no_formulas() -> None:
    named = replace(ABLATION, variants=(Variant("$a_$"), Variant("$b^$ $")), lengths=(100,))
    records = {(variant.name, "passkey", 0): run(1, 0) for variant in named.variants}
    draw_ablation(list(outcomes(named, records))).savefig(io.BytesIO())


def test_names_hide_nothing_and_leave_room() -> None:
    named = replace(
        ABLATION,
        variants=(Variant("a" * 100), Variant("one that differs in many a setting, " * 3)),
        tasks=("passkey", "facts"),
    )
    runs = run(1, 0) + run(0, 0, 1, length=200)
    records = {(variant.name, task, 0): runs for variant in named.variants for task in named.tasks}
    figure = draw_ablation(list(outcomes(named, records)))
    figure.savefig(io.BytesIO())
    (legend,) = figure.legends
    for axes in figure.axes:
        assert not axes.get_window_extent().overlaps(legend.get_window_extent())
        assert axes.get_window_extent().width > 1.5 * figure.dpi
