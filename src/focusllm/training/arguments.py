"""A recipe's options of ``transformers.TrainingArguments``: what they may be here, and what they are unless given."""

from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_utils import SaveStrategy

from focusllm.errors import ConfigurationError, MissingDependencyError
from focusllm.kinds import check_kinds
from focusllm.training.recipe import Recipe

_FIXED: dict[str, Any] = {
    # A packed batch holds several sequences already; more of them are reached by accumulation.
    "per_device_train_batch_size": 1,
    "remove_unused_columns": False,
    # Before that there is no model card.
    "hub_strategy": "end",
}
# What would change nothing, or break a run, and what to do in its place.
_REFUSED = {
    "batches are packed, and come in the order in which they are drawn; their size is that of `row_tokens` in `draws` "
    "and of `gradient_accumulation_steps`": {
        "per_device_train_batch_size", "auto_find_batch_size", "remove_unused_columns", "length_column_name",
        "train_sampling_strategy", "data_seed", "dataloader_drop_last", "accelerator_config",
    },
    "nothing is evaluated during training; `focusllm eval` measures every checkpoint, given as `--adapter`": {
        "do_eval", "do_predict", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start",
        "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object", "per_device_eval_batch_size",
        "prediction_loss_only", "batch_eval_metrics", "include_for_metrics", "load_best_model_at_end",
        "metric_for_best_model", "greater_is_better",
    },
    "the loss is that of the supervised positions of `data`, and none of its own": {
        "label_smoothing_factor", "label_names", "neftune_noise_alpha", "use_liger_kernel", "liger_kernel_config",
        "average_tokens_across_devices",
    },
    "the same command resumes a run, exactly, from its newest complete checkpoint": {
        "resume_from_checkpoint", "ignore_data_skip", "save_only_model",
    },
    "the adapter is uploaded once, when it is finished": {"hub_strategy", "hub_always_push"},
    "a recipe is no place for secrets, since model cards show it; run `hf auth login`, or set HF_TOKEN": {"hub_token"},
}  # fmt: skip
# Said by settings of the recipe itself.
_OWN = {"output_dir": "output", "max_steps": "steps", "num_train_epochs": "steps", "seed": "seed"}


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Make the Trainer's arguments.

    Raises:
        ConfigurationError: One is unknown, out of range, or cannot be set here.
        MissingDependencyError: They ask for a library that is not installed.
    """
    _check_names(recipe)
    check_kinds(TrainingArguments, recipe.arguments)
    given = {**_defaults(), **recipe.arguments}
    try:
        arguments = TrainingArguments(
            output_dir=recipe.output, max_steps=recipe.steps, seed=recipe.seed, **_FIXED, **given,
        )  # fmt: skip
    except ImportError as error:
        raise MissingDependencyError(f"`arguments` ask for a library that is missing: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"`arguments` holds what transformers.TrainingArguments does not take: {error}."
        ) from error
    _check_numbers(arguments)
    _check_optimizer(arguments)
    _check_reports(arguments)
    # A process has one batch at a time; the Trainer would have it draw one for each GPU, and drop all but the first.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _defaults() -> dict[str, Any]:
    return {
        "logging_steps": 10,
        "save_steps": 100,
        "save_total_limit": 2,
        "report_to": "none",
        # Or a loss that is no number would be logged as the mean of those before it.
        "logging_nan_inf_filter": False,
        "use_cpu": not torch.cuda.is_available(),
        # Every trained parameter gets a gradient from every batch.
        "ddp_find_unused_parameters": False,
    }


def _check_names(recipe: Recipe) -> None:
    for reason, names in _REFUSED.items():
        if refused := sorted(names & recipe.arguments.keys()):
            raise ConfigurationError(f"{refused} cannot be set in `arguments`: {reason}.")
    if elsewhere := sorted(_OWN.keys() & recipe.arguments.keys()):
        own = sorted({_OWN[name] for name in elsewhere})
        raise ConfigurationError(f"{elsewhere} cannot be set in `arguments`: set {own} of the recipe itself.")


def _check_numbers(arguments: TrainingArguments) -> None:
    if arguments.save_total_limit == 1:
        raise ConfigurationError(
            "`save_total_limit` in `arguments` must be 2 or more: one is whole while another is written."
        )
    if arguments.save_strategy == SaveStrategy.BEST:
        raise ConfigurationError(
            "`save_strategy` in `arguments` cannot be 'best', since nothing is evaluated during training; set 'steps', "
            "'epoch' or 'no'."
        )
    for name in ("learning_rate", "weight_decay", "adam_epsilon"):
        # The optimizer would not refuse it by this name.
        if getattr(arguments, name) < 0:
            raise ConfigurationError(f"`{name}` in `arguments` must be 0 or more; got {getattr(arguments, name)!r}.")
    if arguments.gradient_accumulation_steps < 1:
        raise ConfigurationError(
            f"`gradient_accumulation_steps` in `arguments` must be a positive number; "
            f"got {arguments.gradient_accumulation_steps!r}."
        )


def _check_optimizer(arguments: TrainingArguments) -> None:
    """Make optimizer and schedule for a single number: the Trainer would make them once all data are read."""
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
        optimizer = kind([nn.Parameter(torch.zeros(1))], **settings)
        steps, more = arguments.max_steps, cast("dict[str, Any]", arguments.lr_scheduler_kwargs)
        get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.get_warmup_steps(steps), steps, more)
    except ImportError as error:
        raise MissingDependencyError(f"`optim` in `arguments` asks for a library that is missing: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"No optimizer or schedule can be made by `optim`, `lr_scheduler_type` and their settings in `arguments`: "
            f"{error}."
        ) from error


def _check_reports(arguments: TrainingArguments) -> None:
    """Find out now whether what is reported to is there; the Trainer would say so in errors of many kinds."""
    try:
        for report in get_reporting_integration_callbacks(arguments.report_to):
            report()
    except ValueError as error:
        raise ConfigurationError(f"`report_to` in `arguments` is unknown: {error}") from error
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(f"`report_to` in `arguments` needs a library that is missing: {error}") from error
