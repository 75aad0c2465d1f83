"""The recipe a run was begun by, kept in its folder, so that no run goes on by another one. Source: ours."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from focusllm.errors import TrainingError
from focusllm.files import write_text
from focusllm.training.recipe import Recipe

RECIPE_NAME = "recipe.json"
# A folder may be moved, and a recipe be named from elsewhere.
_PLACES = ("folder", "output")


def check_recipe(recipe: Recipe) -> None:
    """Check that a run that would go on was begun by the same recipe; a run that kept none is taken on trust.

    Raises:
        TrainingError: It was begun by another one.
    """
    path = Path(recipe.output) / RECIPE_NAME
    if not path.exists():
        return
    begun, asked = _settings(path.read_text(encoding="utf-8")), _settings(_text(recipe))
    if different := sorted(name for name in asked if name not in _PLACES and begun.get(name) != asked[name]):
        raise TrainingError(
            f"{recipe.output} holds a run that was begun with other settings ({different} differ; see {path}). Give "
            f"this one another `output`, or remove the folder; to go on all the same, remove {RECIPE_NAME}."
        )


def keep_recipe(recipe: Recipe) -> None:
    """Write the recipe into the run's folder."""
    folder = Path(recipe.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE_NAME, _text(recipe))


def _text(recipe: Recipe) -> str:
    return json.dumps(asdict(recipe), default=str, indent=2, sort_keys=True)


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return settings if isinstance(settings, dict) else {}
