"""Every recipe in the repository can be read, and says nothing that is not known."""

from dataclasses import fields
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from transformers import TrainingArguments

from focusllm.ablations.run import check_windows
from focusllm.ablations.settings import read_ablation
from focusllm.training.recipe import read_recipe

FOLDER = Path(__file__).parents[3] / "recipes"
ABLATIONS = sorted(FOLDER.rglob("ablations.yaml"))
PRESETS = sorted((FOLDER / "accelerate").glob("*.yaml"))
RECIPES = sorted(path for path in FOLDER.rglob("*.yaml") if path not in [*ABLATIONS, *PRESETS])


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_recipes_hold_known_settings(path: Path) -> None:
    recipe = read_recipe(path)
    assert set(recipe.arguments) <= {field.name for field in fields(TrainingArguments)}
    config = recipe.arguments.get("deepspeed")
    assert config is None or (FOLDER.parent / config).is_file()


@pytest.mark.parametrize("path", PRESETS, ids=[path.stem for path in PRESETS])
def test_presets_of_accelerate_can_be_read(path: Path) -> None:
    assert load_config_from_file(str(path)).num_processes > 1


@pytest.mark.parametrize("path", ABLATIONS, ids=[path.parent.name for path in ABLATIONS])
def test_ablations_can_be_read(path: Path) -> None:
    ablation = read_ablation(path)
    assert len(ablation.variants) > 1
    if "bundled" in {ablation.recipe_of(variant, 0).base for variant in ablation.variants}:
        check_windows(ablation)


def test_the_paper_s_recipe_and_the_bundled_one_are_among_them() -> None:
    assert {"llama2-7b", "adapter"} <= {path.stem for path in RECIPES}
