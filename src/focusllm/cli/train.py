"""``focusllm train``: train an adapter by a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.errors import MissingDependencyError, TrainingError


def train(
    config: Annotated[Path, typer.Option("--config", "-c", help="The recipe, a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Settings that replace the recipe's.")
    ] = None,
) -> None:
    """Train an adapter by a recipe, going on where an earlier run of it was cut.

    Example: focusllm train --config recipes/tiny/adapter.yaml steps=500
    """
    try:
        from focusllm.training.recipe import read_recipe
        from focusllm.training.run import train as run
    except ImportError as error:
        raise MissingDependencyError(f"Training needs {error.name!r}: pip install 'focusllm[train]'.") from error
    recipe = read_recipe(config, overrides or [])
    try:
        folder = run(recipe)
    except KeyboardInterrupt as error:
        raise TrainingError(
            f"Interrupted. Checkpoints are in {recipe.output}; the same command goes on from the newest one."
        ) from error
    typer.echo(f"The adapter is in {folder}.")
