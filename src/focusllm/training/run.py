"""Running a recipe from start, or from where it was cut, to a finished adapter."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from focusllm.bundled.model import resolve_base
from focusllm.condensing.adapter_files import QUANTIZED, fingerprint_of, load_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.bases import bos_token_id_of, load_base
from focusllm.condensing.families import window_of
from focusllm.errors import ConfigurationError, InputError, MissingDependencyError, TrainingError
from focusllm.files import held
from focusllm.kinds import check_kinds
from focusllm.precision import is_emulated
from focusllm.training.batches import PackedBatches
from focusllm.training.card import write_card
from focusllm.training.copying import copy_hidden_states
from focusllm.training.examples import check_room
from focusllm.training.kept_recipe import RECIPE_NAME, check_recipe, keep_recipe
from focusllm.training.objective import FocusObjective
from focusllm.training.recipe import Recipe, make_drawer
from focusllm.training.trainer import LOG_NAME, FocusTrainer, newest_complete_checkpoint, seed_everything

_LOGGER = logging.getLogger(__name__)
_FIXED: dict[str, Any] = {
    # A packed batch holds several sequences already; more of them are reached by accumulation.
    "per_device_train_batch_size": 1,
    "remove_unused_columns": False,
    # There is nothing to evaluate on, and a run could not go on from weights alone.
    "eval_strategy": "no",
    "save_only_model": False,
}
# Said by settings of the recipe itself.
_OWN = {"output_dir": "output", "max_steps": "steps", "num_train_epochs": "steps", "seed": "seed"}


def train(recipe: Recipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train an adapter as the recipe says, going on from the newest complete checkpoint of its output folder.

    Args:
        recipe: What to train, from what, and how.
        callbacks: Called by the Trainer as the run goes on.

    Returns:
        The folder that holds the finished adapter.

    Raises:
        ConfigurationError: An option is not one of ``transformers.TrainingArguments``, or a base in fewer bits
            would be divided among processes.
        InputError: The base cannot be loaded, or has no tokenizer.
        MissingDependencyError: The recipe asks for a library that is not installed.
        TrainingError: The folder holds a run by another recipe, there is no room in it, or training has diverged.
        WindowError: What is drawn does not fit the base's window.
    """
    seed_everything(recipe.seed)
    base, tokenizer = _load(recipe)
    adapter = CandidateAdapter(base, recipe.focus)
    _check_base(recipe, base, adapter)
    arguments = _arguments(recipe)
    _check_division(arguments, base)
    batches = _batches(recipe, base, tokenizer, arguments)
    is_first = arguments.process_index == 0
    # The first of several processes holds the folder for all.
    with _alone_in(Path(recipe.output)) if is_first else nullcontext():
        checkpoint = _begin(recipe, base, adapter, is_first)
        if recipe.start == "copy" and checkpoint is None and recipe.adapter is None:
            copy_hidden_states(base, adapter, batches[0].rows)
        trainer = FocusTrainer(
            adapter=adapter,
            config=recipe.focus,
            kinds=[source.kind for source in recipe.data],
            model=FocusObjective(base, adapter, _row_dtype(recipe, arguments.device)),
            args=arguments,
            train_dataset=batches,
            callbacks=list(callbacks),
        )
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        trainer.save_model()
        if is_first:
            write_card(recipe, adapter, arguments.device)
    return Path(recipe.output)


def _row_dtype(recipe: Recipe, device: torch.device) -> torch.dtype | None:
    if recipe.row_dtype is None:
        return None
    dtype: torch.dtype = getattr(torch, recipe.row_dtype)
    if is_emulated(dtype, device):
        _LOGGER.warning(
            "This CPU has no arithmetic for %s: `row_dtype` is left out, which is faster.", recipe.row_dtype
        )
        return None
    return dtype


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder) as is_ours:
        if not is_ours:
            raise TrainingError(f"Another process is training in {folder}. Wait for it, or give another `output`.")
        yield


def _begin(recipe: Recipe, base: PreTrainedModel, adapter: CandidateAdapter, is_first: bool) -> Path | None:
    """Fill the adapter with what the run goes on from; return its newest complete checkpoint, or ``None``."""
    checkpoint = newest_complete_checkpoint(recipe.output)
    if checkpoint is not None:
        check_recipe(recipe)
    start = checkpoint or (recipe.adapter and recipe.folder / recipe.adapter)
    if start is not None:
        load_adapter(start, adapter, base)
    if is_first:
        _open_folder(recipe, is_new=checkpoint is None)
    return checkpoint


def _load(recipe: Recipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    base_path = resolve_base(recipe.base, recipe.folder)
    base, tokenizer = load_base(base_path, torch.float32, quantization=recipe.quantization)
    if tokenizer is None:
        raise InputError(f"The base model {recipe.base!r} has no tokenizer; training reads text and needs one.")
    return base, tokenizer


def _batches(
    recipe: Recipe, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, arguments: TrainingArguments
) -> PackedBatches:
    return PackedBatches(
        make_drawer(recipe, tokenizer),
        recipe.focus,
        bos_token_id_of(base, tokenizer),
        num_batches=recipe.steps * arguments.gradient_accumulation_steps * arguments.world_size,
        seed=recipe.seed,
    )


def _check_base(recipe: Recipe, base: PreTrainedModel, adapter: CandidateAdapter) -> None:
    """Refuse a base that cannot be trained on, or whose window is too small for the recipe."""
    if not adapter.family.is_trainable:
        raise ConfigurationError(
            f"Adapters of {adapter.family.model_type} models cannot be trained yet: transformers' own code "
            f"does not hand their attention what the packed training pass needs. See `focusllm models`."
        )
    check_room(recipe.draws, recipe.focus.dynamic_prompt_length, window_of(base))


def _open_folder(recipe: Recipe, *, is_new: bool) -> None:
    """Keep the recipe, unless it is kept; of an attempt that left no checkpoint nothing is to be in the log."""
    folder = Path(recipe.output)
    if is_new:
        (folder / LOG_NAME).unlink(missing_ok=True)
    if is_new or not (folder / RECIPE_NAME).exists():
        keep_recipe(recipe)


def _check_division(arguments: TrainingArguments, base: PreTrainedModel) -> None:
    """Refuse to divide among processes what cannot be divided."""
    settings: Any = getattr(arguments, "hf_deepspeed_config", None)
    if settings is not None and settings.is_zero3() and fingerprint_of(base) == QUANTIZED:
        raise ConfigurationError(
            "The recipe divides the base among processes (DeepSpeed's ZeRO-3), and the base keeps its weights in fewer "
            "bits, which cannot be divided. Use ZeRO-2 (recipes/deepspeed/zero2.json), or leave `quantization` out."
        )


def _arguments(recipe: Recipe) -> TrainingArguments:
    clashing = sorted(_FIXED.keys() & recipe.arguments.keys())
    if clashing:
        raise ConfigurationError(
            f"{clashing} cannot be set: packed batches, and runs that go on, need them as they are."
        )
    if elsewhere := sorted(_OWN.keys() & recipe.arguments.keys()):
        own = sorted({_OWN[name] for name in elsewhere})
        raise ConfigurationError(f"{elsewhere} cannot be set in `arguments`: set {own} of the recipe itself.")
    defaults: dict[str, Any] = {
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
    check_kinds(TrainingArguments, recipe.arguments)
    given = {**defaults, **recipe.arguments}
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
    _check_reports(arguments)
    # A process has one batch at a time; the Trainer would have it draw one for each GPU, and drop all but the first.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _check_numbers(arguments: TrainingArguments) -> None:
    if arguments.save_total_limit == 1:
        raise ConfigurationError(
            "`save_total_limit` in `arguments` must be 2 or more: one is whole while another is written."
        )
    for name in ("learning_rate", "weight_decay", "adam_epsilon"):
        # The optimizer would refuse it in the middle of everything, and not by this name.
        if getattr(arguments, name) < 0:
            raise ConfigurationError(f"`{name}` in `arguments` must be 0 or more; got {getattr(arguments, name)!r}.")
    if arguments.gradient_accumulation_steps < 1:
        raise ConfigurationError(
            f"`gradient_accumulation_steps` in `arguments` must be a positive number; "
            f"got {arguments.gradient_accumulation_steps!r}."
        )


def _check_reports(arguments: TrainingArguments) -> None:
    """Find out now whether what is reported to is there; the Trainer would say so in errors of many kinds."""
    try:
        for report in get_reporting_integration_callbacks(arguments.report_to):
            report()
    except ValueError as error:
        raise ConfigurationError(f"`report_to` in `arguments` is unknown: {error}") from error
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(f"`report_to` in `arguments` needs a library that is missing: {error}") from error
