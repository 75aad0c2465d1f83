"""``focusllm report``: runs of ``focusllm eval`` as a page, as Markdown or as CSV."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli.progress import ERRORS
from focusllm.errors import ConfigurationError

_KINDS = (".html", ".md", ".csv")


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

    outputs = output or [Path("report.html")]
    for path in outputs:
        if path.suffix not in _KINDS:
            raise ConfigurationError(f"--output must end in one of {', '.join(_KINDS)}; got {str(path)!r}.")
    found = find_runs(runs)
    for path in outputs:
        text = (
            csv_table(found)
            if path.suffix == ".csv"
            else (html_page(found, title) if path.suffix == ".html" else markdown_page(found, title))
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        ERRORS.print(f"{len(found)} runs are in {path}.", style="dim", highlight=False)
