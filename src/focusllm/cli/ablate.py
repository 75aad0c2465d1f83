"""``focusllm ablate``: variants of one recipe, trained and asked alike, in one table."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli.progress import say
from focusllm.errors import MissingDependencyError, TrainingError


def ablate(
    config: Annotated[Path, typer.Option("--config", "-c", help="What is compared, a YAML file.")],
) -> None:
    """Train variants of a recipe, ask all of them the same, and compare them with the first.

    The file names a recipe, a folder, tasks, lengths, seeds, and variants by name: settings of the recipe that differ,
    settings of decoding, or both. docs/training.md shows one; recipes/tiny/ablations.yaml is the bundled model's.

    What is done already is not done again, so the same command goes on where it was cut. The folder gets a table, a
    picture, and every sample, of which focusllm report makes a page.
    """
    try:
        from focusllm.ablations.report import ablation_table, draw_ablation, outcomes
        from focusllm.ablations.run import run_ablation
        from focusllm.ablations.settings import read_ablation
        from focusllm.files import write_text
    except ImportError as error:
        raise MissingDependencyError(f"Training needs {error.name!r}: pip install 'focusllm[train]'.") from error
    ablation = read_ablation(config)
    try:
        records = run_ablation(ablation, say)
    except KeyboardInterrupt as error:
        raise TrainingError(f"Interrupted. Runs are in {ablation.output}; the same command goes on.") from error
    found = list(outcomes(ablation, records))
    table = ablation_table(found)
    write_text(ablation.output / "table.md", table)
    draw_ablation(found).savefig(ablation.output / "ablation.png", dpi=120)
    typer.echo(table)
    say(f"Runs, table and picture are in {ablation.output}/.")
