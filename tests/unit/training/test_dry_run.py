"""What a dry run says of a recipe, and that nothing of it leaves the machine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from transformers import TrainerCallback, TrainerControl

from focusllm.training import dry_run
from focusllm.training.recipe import Recipe

SECONDS = [9.0, 1.0, 2.0, 3.0, 2.0, 7.0]


class Run:
    """Stands for a run whose steps take so many seconds."""

    def __init__(self, seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self._seconds, self._now = seconds, 0.0
        self.recipes: list[Recipe] = []
        monkeypatch.setattr(dry_run, "train", self.train)
        monkeypatch.setattr(dry_run, "time", SimpleNamespace(perf_counter=lambda: self._now))

    def train(self, recipe: Recipe, callbacks: list[TrainerCallback]) -> None:
        self.recipes.append(recipe)
        control, [clock] = TrainerControl(), callbacks
        options: dict[str, Any] = {"args": None, "state": None, "control": control}
        clock.on_train_begin(**options, model=nn.Linear(2, 2))
        for seconds in self._seconds:
            assert not control.should_training_stop
            clock.on_step_begin(**options)
            self._now += seconds
            clock.on_step_end(**options)


def recipe(**arguments: object) -> Recipe:
    return Recipe("base", "output", 100, Path(), arguments=arguments)


def test_a_step_takes_the_mean_of_those_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Run(SECONDS, monkeypatch)
    found = dry_run.dry_run(recipe())
    assert (found.seconds_per_step, found.steps, found.trained_parameters) == (3.0, 100, 6)
    Run(SECONDS[:1], monkeypatch)
    assert dry_run.dry_run(recipe()).seconds_per_step == 9.0


def test_nothing_is_reported_uploaded_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(SECONDS, monkeypatch)
    dry_run.dry_run(recipe(report_to="wandb", push_to_hub=True, learning_rate=1.0))
    [tried] = run.recipes
    assert (tried.arguments["report_to"], tried.arguments["push_to_hub"]) == ("none", False)
    assert tried.arguments["learning_rate"] == 1.0
    assert tried.output != "output"
    assert not Path(tried.output).exists()
