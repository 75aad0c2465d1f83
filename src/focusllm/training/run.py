"""Running a recipe from start, or from where it was cut, to a finished adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments

from focusllm.bundled.model import resolve_base
from focusllm.condensing.adapter_files import QUANTIZED, fingerprint_of, load_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.bases import bos_token_id_of, load_base
from focusllm.errors import ConfigurationError, InputError, MissingDependencyError
from focusllm.kinds import check_kinds
from focusllm.training.batches import PackedBatches
from focusllm.training.card import write_card
from focusllm.training.copying import copy_hidden_states
from focusllm.training.objective import FocusObjective
from focusllm.training.recipe import Recipe, make_drawer
from focusllm.training.trainer import FocusTrainer, newest_complete_checkpoint, seed_everything

# A packed batch holds several sequences already; more of them are reached by accumulation.
_FIXED = {"per_device_train_batch_size": 1, "remove_unused_columns": False}


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
    """
    seed_everything(recipe.seed)
    base, tokenizer = _load(recipe)
    adapter = CandidateAdapter(base, recipe.focus)
    if not adapter.family.is_trainable:
        raise ConfigurationError(
            f"Adapters of {adapter.family.model_type} models cannot be trained yet: transformers' own code "
            f"does not hand their attention what the packed training pass needs. See `focusllm models`."
        )
    checkpoint = newest_complete_checkpoint(recipe.output)
    start = checkpoint or (recipe.adapter and recipe.folder / recipe.adapter)
    if start is not None:
        load_adapter(start, adapter, base)
    arguments = _arguments(recipe)
    _check_division(arguments, base)
    batches = PackedBatches(
        make_drawer(recipe, tokenizer),
        recipe.focus,
        bos_token_id_of(base, tokenizer),
        num_batches=recipe.steps * arguments.gradient_accumulation_steps * arguments.world_size,
        seed=recipe.seed,
    )
    if recipe.start == "copy" and start is None:
        copy_hidden_states(base, adapter, batches[0].rows)
    objective = FocusObjective(base, adapter, None if recipe.row_dtype is None else getattr(torch, recipe.row_dtype))
    trainer = FocusTrainer(
        adapter=adapter,
        config=recipe.focus,
        kinds=[source.kind for source in recipe.data],
        model=objective,
        args=arguments,
        train_dataset=batches,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trainer.save_model()
    if trainer.is_world_process_zero():
        write_card(recipe, adapter, arguments.device)
    return Path(recipe.output)


def _load(recipe: Recipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    base_path = resolve_base(recipe.base, recipe.folder)
    base, tokenizer = load_base(base_path, torch.float32, quantization=recipe.quantization)
    if tokenizer is None:
        raise InputError(f"The base model {recipe.base!r} has no tokenizer; training reads text and needs one.")
    return base, tokenizer


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
        raise ConfigurationError(f"{clashing} cannot be set: they follow from how batches are packed.")
    defaults: dict[str, Any] = {
        "logging_steps": 10,
        "save_steps": 100,
        "save_total_limit": 2,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        # Every trained parameter gets a gradient from every batch.
        "ddp_find_unused_parameters": False,
    }
    check_kinds(TrainingArguments, recipe.arguments)
    given = {**defaults, **recipe.arguments}
    try:
        return TrainingArguments(
            output_dir=recipe.output, max_steps=recipe.steps, seed=recipe.seed, **_FIXED, **given,
        )  # fmt: skip
    except ImportError as error:
        raise MissingDependencyError(f"`arguments` ask for a library that is missing: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"`arguments` holds what transformers.TrainingArguments does not take: {error}."
        ) from error
