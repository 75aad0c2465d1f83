"""A few steps of a recipe, to learn what the whole of it will cost. Source: ours."""

import io
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl

from focusllm.training.recipe import Recipe
from focusllm.training.run import train

# The first step is slower than those that follow, and batches are of different sizes.
_STEPS = 6


@dataclass(frozen=True)
class DryRun:
    """What a few steps of a recipe's last stage, which is the largest as a rule, have shown.

    Attributes:
        steps: Steps of the whole recipe.
        trained_parameters: Parameters of the adapter.
        base_parameters: Parameters of the frozen base.
        seconds_per_step: Seconds of one optimizer step, in the mean.
    """

    steps: int
    trained_parameters: int
    base_parameters: int
    seconds_per_step: float


class _Clock(TrainerCallback):
    """Counts parameters, times steps, and stops soon."""

    def __init__(self) -> None:
        self._started = 0.0
        self.seconds: list[float] = []
        self.sizes = (0, 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        assert model is not None  # the Trainer hands it to every callback
        parameters = list(model.parameters())
        trained = sum(_size(parameter) for parameter in parameters if parameter.requires_grad)
        self.sizes = (trained, sum(map(_size, parameters)) - trained)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)
        control.should_training_stop = len(self.seconds) >= _STEPS


def _size(parameter: nn.Parameter) -> int:
    """Count a parameter's numbers, also where DeepSpeed has divided them among processes."""
    return getattr(parameter, "ds_numel", parameter.numel())


def dry_run(recipe: Recipe) -> DryRun:
    """Run a few steps of a recipe's last stage; nothing is kept.

    Raises:
        ConfigurationError: As for :func:`~focusllm.training.run.train`.
        InputError: As there.
    """
    quiet = {"disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no"}
    nowhere = {"report_to": "none", "push_to_hub": False}
    clock = _Clock()
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        arguments = {**recipe.arguments, **quiet, **nowhere}
        train(replace(recipe, draws=recipe.draws[-1:], output=folder, arguments=arguments), [clock])
    return DryRun(recipe.steps, *clock.sizes, mean(clock.seconds[1:] or clock.seconds))
