"""Training and asking every variant of an ablation; what is done already is not done again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from focusllm.ablations.settings import Ablation, Variant
from focusllm.bundled.model import resolve_base
from focusllm.condensing.adapter_files import CONFIG_NAME
from focusllm.condensing.bases import load_config
from focusllm.condensing.families import configured_window
from focusllm.errors import WindowError
from focusllm.evaluation.runner import run_grid
from focusllm.evaluation.runs import SAMPLES_NAME
from focusllm.evaluation.systems import FocusSystem
from focusllm.evaluation.tasks.registry import TASKS
from focusllm.model import FocusModel
from focusllm.training.kept_recipe import check_recipe
from focusllm.training.recipe import Recipe, check_draws
from focusllm.training.run import train

# Samples of every seed of a variant, by task.
Records = dict[tuple[str, str, int], list[dict[str, Any]]]


def run_ablation(ablation: Ablation, done: Callable[[str], None] = lambda _: None) -> Records:
    """Train every run of every variant that is not trained yet, and ask it what it has not been asked yet.

    First come the runs of the first seed, so that an ablation that is cut compares something.

    Args:
        ablation: What is compared.
        done: Called with words for every step that is finished.

    Returns:
        The samples of each variant's name, task and seed.

    Raises:
        TrainingError: A folder holds a run with other settings.
        WindowError: What a variant draws does not fit its base's window.
    """
    # What is wrong with the last variant must not show after hours of training the first.
    check_windows(ablation)
    records: Records = {}
    for variant, seed in _runs(ablation):
        train_adapter(ablation.recipe_of(variant, seed))
        done(f"{variant.name}, seed {seed}: trained")
        for task, run in _ask(ablation, variant, seed):
            records[variant.name, task, seed] = run
            done(f"{variant.name}, seed {seed}: {task}")
    return records


def check_windows(ablation: Ablation) -> None:
    """Check that what every variant draws fits its base's window.

    Raises:
        WindowError: It does not; the text names the variant.
        InputError: A base cannot be read.
    """
    for variant in ablation.variants:
        recipe = ablation.recipe_of(variant, seed=0)
        config = load_config(resolve_base(recipe.base, recipe.folder)).get_text_config(decoder=True)
        try:
            check_draws(recipe, configured_window(config))
        except WindowError as error:
            raise WindowError(f"Variant {variant.name!r}: {error}") from error


def _runs(ablation: Ablation) -> Iterator[tuple[Variant, int]]:
    for seed in ablation.seeds_of(ablation.variants[0]):
        yield from ((variant, seed) for variant in ablation.variants if seed in ablation.seeds_of(variant))


def train_adapter(recipe: Recipe) -> None:
    """Train by a recipe, unless its adapter is there already.

    Raises:
        TrainingError: The recipe's folder holds the run of another recipe.
    """
    check_recipe(recipe)
    # Of an adapter's files it is the last one that is written.
    if not (Path(recipe.output) / CONFIG_NAME).exists():
        train(recipe)


def _ask(ablation: Ablation, variant: Variant, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the samples of each task; those that are missing are run."""
    recipe = ablation.recipe_of(variant, seed)
    base = resolve_base(recipe.base, recipe.folder)
    settings = ablation.decoding_of(variant)
    model = FocusModel.from_pretrained(base, recipe.output, config=settings, dtype=ablation.dtype)
    system = FocusSystem(model, name=f"{variant.name}, seed {seed}")
    for task in ablation.tasks:
        path = ablation.folder_of(variant, seed) / task / SAMPLES_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        yield task, run_grid(TASKS[task], system, model, ablation.grid, path)
