"""What a run was begun with, kept in its folder, so that no run goes on with something else. Source: ours."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from focusllm.errors import TrainingError
from focusllm.files import write_text
from focusllm.training.recipe import Recipe

RECIPE_NAME = "recipe.json"
# A folder may be moved, and a recipe be named from elsewhere.
_PLACES = ("folder", "output")


def check_recipe(recipe: Recipe, surroundings: Mapping[str, Any] | None = None) -> None:
    """Check that a run that would go on was begun with the same; what it has not kept is taken on trust.

    Args:
        recipe: What it would go on by.
        surroundings: What else its batches depend on, by the names that messages have for it.

    Raises:
        TrainingError: It was begun with something else.
    """
    path = Path(recipe.output) / RECIPE_NAME
    if not path.exists():
        return
    begun, asked = _settings(path.read_text(encoding="utf-8")), _settings(_text(recipe, {}))
    different = sorted(name for name in asked if name not in _PLACES and begun.get(name) != asked[name])
    # Other settings may be the very reason why these differ.
    different = different or [name for name, value in (surroundings or {}).items() if begun.get(name, value) != value]
    if different:
        raise TrainingError(
            f"{recipe.output} holds a run that was begun with other settings or data ({different} differ; see {path}). "
            f"Give this one another `output`, or remove the folder; to go on all the same, remove {RECIPE_NAME}."
        )


def keep_recipe(recipe: Recipe, surroundings: Mapping[str, Any] | None = None) -> None:
    """Write the recipe, and what else the run's batches depend on, into its folder."""
    folder = Path(recipe.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE_NAME, _text(recipe, surroundings or {}))


def _text(recipe: Recipe, surroundings: Mapping[str, Any]) -> str:
    return json.dumps({**asdict(recipe), **surroundings}, default=str, indent=2, sort_keys=True)


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return settings if isinstance(settings, dict) else {}
