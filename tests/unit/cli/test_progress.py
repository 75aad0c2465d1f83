"""Bars of runs: what is left is foretold by what was run."""

import pytest

from focusllm.cli import progress
from focusllm.cli.progress import run_bar


def test_time_that_is_left_is_foretold_by_what_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that were there already took no time, and new ones may take minutes each."""
    now = [0.0]
    monkeypatch.setattr(progress.ERRORS, "get_time", lambda: now[0])
    with run_bar(100, "Running") as bar:
        for _ in range(90):
            bar(1, False)
        for _ in range(5):
            now[0] += 60
            bar(1, True)
        [task] = bar._bar.tasks
    assert (task.completed, task.total) == (5, 10)
    assert task.time_remaining == pytest.approx(5 * 60, abs=90)
