"""``focusllm train``: train an adapter by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from focusllm.cli.processes import is_first_process
from focusllm.errors import MissingDependencyError, TrainingError

if TYPE_CHECKING:
    from focusllm.training.dry_run import DryRun


def train(
    config: Annotated[Path, typer.Option("--config", "-c", help="The recipe, a YAML file; see docs/training.md.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE", help="Settings that replace the recipe's, such as steps=500 or focus.rank=8."
        ),
    ] = None,
    only_try: Annotated[
        bool, typer.Option("--dry-run", help="Run a few steps, print what the whole run will cost, and keep nothing.")
    ] = False,
) -> None:
    """Train an adapter as a recipe says, or resume an interrupted run of it.

    Example: focusllm train --config recipes/tiny/adapter.yaml base=bundled steps=500
    """
    try:
        from focusllm.training.dry_run import dry_run
        from focusllm.training.recipe import read_recipe
        from focusllm.training.run import train as run
    except ImportError as error:
        raise MissingDependencyError(f"Training needs {error.name!r}: pip install 'focusllm[train]'.") from error
    recipe = read_recipe(config, overrides or [])
    if only_try:
        found = dry_run(recipe)
        if is_first_process():
            _show(found)
        return
    try:
        folder = run(recipe)
    except KeyboardInterrupt as error:
        raise TrainingError(
            f"Interrupted. The same command goes on from the newest checkpoint in {recipe.output}, if there is one yet."
        ) from error
    if is_first_process():
        typer.echo(f"The adapter is in {folder}.")


def _show(found: "DryRun") -> None:
    from focusllm.cache.memory import peak_bytes

    rows = {
        "trained parameters": f"{found.trained_parameters:,} ({found.trained_parameters / found.base_parameters:.1%} "
        f"of the base's {found.base_parameters:,})",
        "a step": f"{found.seconds_per_step:,.2f} s in the last stage",
        "all steps": f"{found.steps:,}, at that pace {found.steps * found.seconds_per_step / 3600:,.2f} hours",
        "peak memory": f"{peak_bytes() / 1e9:,.2f} GB",
    }
    for name, value in rows.items():
        typer.echo(f"{name:20} {value}")
