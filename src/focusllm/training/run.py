"""Running a recipe from start, or from where it was cut, to a finished adapter."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments

from focusllm.bundled.model import resolve_base
from focusllm.condensing.adapter_files import QUANTIZED, adapter_folder, fingerprint_of, load_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.bases import bos_token_id_of, load_base
from focusllm.condensing.families import window_of
from focusllm.errors import ConfigurationError, InputError, TrainingError
from focusllm.files import held
from focusllm.precision import is_emulated
from focusllm.training.arguments import training_arguments
from focusllm.training.batches import PackedBatches
from focusllm.training.card import write_card
from focusllm.training.copying import copy_hidden_states
from focusllm.training.examples import ExampleDrawer
from focusllm.training.kept_recipe import RECIPE_NAME, check_recipe, keep_recipe
from focusllm.training.objective import FocusObjective
from focusllm.training.recipe import Recipe, check_draws, make_drawer
from focusllm.training.trainer import (
    LOG_NAME,
    FocusTrainer,
    cut_log,
    newest_complete_checkpoint,
    seed_everything,
    step_of,
)

_LOGGER = logging.getLogger(__name__)


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
    arguments = training_arguments(recipe)
    _check_division(arguments, base)
    drawer = make_drawer(recipe, tokenizer, window_of(base))
    batches = _batches(recipe, drawer, bos_token_id_of(base, tokenizer), arguments)
    surroundings = {"number of processes": arguments.world_size, "contents of data": list(drawer.checksums)}
    is_first = arguments.process_index == 0
    # The first of several processes holds the folder for all.
    with _alone_in(Path(recipe.output)) if is_first else nullcontext():
        checkpoint = _begin(recipe, surroundings, base, adapter, is_first)
        if recipe.start == "copy" and checkpoint is None and recipe.adapter is None:
            copy_hidden_states(base, adapter, batches[0].rows)
        trainer = _trainer(recipe, base, adapter, arguments, batches, callbacks)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        trainer.save_model()
        if is_first:
            write_card(recipe, adapter, arguments.device, arguments.world_size)
        if arguments.push_to_hub:
            trainer.push_to_hub()
    return Path(recipe.output)


def _trainer(
    recipe: Recipe,
    base: PreTrainedModel,
    adapter: CandidateAdapter,
    arguments: TrainingArguments,
    batches: PackedBatches,
    callbacks: Sequence[TrainerCallback],
) -> FocusTrainer:
    try:
        return FocusTrainer(
            adapter=adapter,
            config=recipe.focus,
            kinds=[source.kind for source in recipe.data],
            model=FocusObjective(base, adapter, _row_dtype(recipe, arguments.device)),
            args=arguments,
            train_dataset=batches,
            callbacks=list(callbacks),
        )
    except ValueError as error:
        raise ConfigurationError(f"transformers' Trainer refuses what `arguments` ask for: {error}") from error


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


def _begin(
    recipe: Recipe, surroundings: Mapping[str, Any], base: PreTrainedModel, adapter: CandidateAdapter, is_first: bool
) -> Path | None:
    """Fill the adapter with what the run goes on from; return its newest complete checkpoint, or ``None``."""
    checkpoint = newest_complete_checkpoint(recipe.output)
    if checkpoint is not None:
        check_recipe(recipe, surroundings)
    start = checkpoint or (recipe.adapter and adapter_folder(recipe.adapter, recipe.folder))
    if start is not None:
        load_adapter(start, adapter, base)
    if is_first:
        _open_folder(recipe, surroundings, checkpoint)
    return checkpoint


def _load(recipe: Recipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    base_path = resolve_base(recipe.base, recipe.folder)
    base, tokenizer = load_base(base_path, torch.float32, quantization=recipe.quantization)
    if tokenizer is None:
        raise InputError(f"The base model {recipe.base!r} has no tokenizer; training reads text and needs one.")
    return base, tokenizer


def _batches(
    recipe: Recipe, drawer: ExampleDrawer, bos_token_id: int | None, arguments: TrainingArguments
) -> PackedBatches:
    return PackedBatches(
        drawer,
        recipe.focus,
        bos_token_id,
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
    check_draws(recipe, window_of(base))


def _open_folder(recipe: Recipe, surroundings: Mapping[str, Any], checkpoint: Path | None) -> None:
    """Keep the recipe, unless it is kept; of steps that are made again, nothing is to be in the log."""
    folder = Path(recipe.output)
    if checkpoint is None:
        (folder / LOG_NAME).unlink(missing_ok=True)
    else:
        cut_log(folder, step_of(checkpoint))
    if checkpoint is None or not (folder / RECIPE_NAME).exists():
        keep_recipe(recipe, surroundings)


def _check_division(arguments: TrainingArguments, base: PreTrainedModel) -> None:
    """Refuse to divide among processes what cannot be divided."""
    settings: Any = getattr(arguments, "hf_deepspeed_config", None)
    if settings is not None and settings.is_zero3() and fingerprint_of(base) == QUANTIZED:
        raise ConfigurationError(
            "The recipe divides the base among processes (DeepSpeed's ZeRO-3), and the base keeps its weights in fewer "
            "bits, which cannot be divided. Use ZeRO-2 (recipes/deepspeed/zero2.json), or leave `quantization` out."
        )
