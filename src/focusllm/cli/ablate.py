"""``focusllm ablate``: variants of one recipe, trained and asked alike, in one table."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli.progress import say
from focusllm.errors import MissingDependencyError, TrainingError


def ablate(
    config: Annotated[Path, typer.Option("--config", "-c", help="What to compare, a YAML file.")],
) -> None:
    """Train variants of a recipe, ask all of them the same questions, and compare them with the first.

    The file names a recipe, an output folder, tasks, lengths, seeds and the
    variants: settings of the recipe or of decoding that differ. docs/training.md
    has an example; recipes/tiny/ablations.yaml is one to run.

    An interrupted command resumes when it is run again. The folder gets a table, a
    picture and all samples, from which `focusllm report` makes a page.
    """
    try:
        from focusllm.ablations.report import ablation_table, draw_ablation, outcomes
        from focusllm.ablations.run import run_ablation
        from focusllm.ablations.settings import read_ablation
        from focusllm.files import write_text
        from focusllm.plotting import check_can_draw, save_figure
    except ImportError as error:
        raise MissingDependencyError(f"Training needs {error.name!r}: pip install 'focusllm[train]'.") from error
    ablation = read_ablation(config)
    check_can_draw()
    try:
        records = run_ablation(ablation, say)
    except KeyboardInterrupt as error:
        raise TrainingError(f"Interrupted. Runs are in {ablation.output}; the same command goes on.") from error
    found = list(outcomes(ablation, records))
    table = ablation_table(found)
    write_text(ablation.output / "table.md", table)
    save_figure(draw_ablation(found), ablation.output / "ablation.png")
    typer.echo(table)
    say(f"Runs, table and picture are in {ablation.output}/.")
