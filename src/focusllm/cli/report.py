"""``focusllm report``: runs of ``focusllm eval`` as a page, as Markdown or as CSV."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli.progress import ERRORS
from focusllm.errors import ConfigurationError


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that focusllm eval wrote, or folders of such.")
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="File to write: .html, .md or .csv; may be given more than once."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="What stands above the report.")] = "FocusLLM: results",
) -> None:
    """Make a report of runs: tables with intervals, differences between systems, curves and heat maps.

    The page needs no other file and no network. Example: focusllm report results -o report.html -o report.md
    """
    from focusllm.evaluation.page import html_page, markdown_page
    from focusllm.evaluation.report import csv_table
    from focusllm.evaluation.runs import find_runs
    from focusllm.files import write_text

    makers = {
        ".html": lambda found: html_page(found, title),
        ".md": lambda found: markdown_page(found, title),
        ".csv": csv_table,
    }
    outputs = output or [Path("report.html")]
    for path in outputs:
        if path.suffix not in makers:
            raise ConfigurationError(f"--output must end in one of {', '.join(makers)}; got {str(path)!r}.")
    found = find_runs(runs)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, makers[path.suffix](found))
        ERRORS.print(f"{len(found)} runs are in {path}.", style="dim", highlight=False)
