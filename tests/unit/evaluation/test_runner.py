"""Runs: which samples they consist of, and what is a run that can go on."""

from pathlib import Path

import pytest

from focusllm.ablations.settings import Ablation, Variant
from focusllm.cli.evaluate import parse_length
from focusllm.errors import ConfigurationError
from focusllm.evaluation.runner import Grid


@pytest.mark.parametrize(
    ("lengths", "num_depths", "trials"), [((), 1, 1), ((100, 0), 1, 1), ((100,), 0, 1), ((100,), -1, 1), ((100,), 1, 0)]
)
def test_a_run_without_samples_is_refused_before_anything_is_made(
    lengths: tuple[int, ...], num_depths: int, trials: int
) -> None:
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Grid(lengths, num_depths, trials)
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Ablation(
            Path("recipe"), Path("out"), (Variant("a"), Variant("b")),
            lengths=lengths, num_depths=num_depths, trials=trials,
        )  # fmt: skip


def test_depths_are_taken_in_turn() -> None:
    assert [(depth, trial) for _, depth, trial in Grid((9,), 3, 5).cells()] == [
        (0.0, 0), (0.5, 1), (1.0, 2), (0.0, 3), (0.5, 4),
    ]  # fmt: skip
    assert list(Grid((9,), 1, 2).cells()) == [(9, 0.0, 0), (9, 0.0, 1)]


@pytest.mark.parametrize("text", ["\u00b2", "4\u00b2K", "-4", "K", ""])
def test_what_is_no_number_of_tokens_is_said(text: str) -> None:
    with pytest.raises(ConfigurationError, match="Lengths are numbers"):
        parse_length(text)
