"""``focusllm report``: runs of ``focusllm eval`` and ``perplexity`` as a page, as Markdown or as CSV."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli.progress import say
from focusllm.errors import ConfigurationError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders written by `focusllm eval` or `perplexity`, or folders of them."),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, ending in .html, .md or .csv; may be given more than once.",
            show_default="report.html",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the report.")] = "FocusLLM: results",
) -> None:
    """Make a report of runs: tables with intervals, differences between systems, curves, heat maps.

    The HTML page needs no other file and no network.

    Example: focusllm report results -o report.html -o report.md
    """
    from focusllm.evaluation.page import html_page, markdown_page
    from focusllm.evaluation.perplexity_report import find_perplexities
    from focusllm.evaluation.report import csv_table
    from focusllm.evaluation.runs import find_runs
    from focusllm.files import write_text

    makers = {
        ".html": lambda found, texts: html_page(found, texts, title),
        ".md": lambda found, texts: markdown_page(found, texts, title),
        ".csv": csv_table,
    }
    outputs = output or [Path("report.html")]
    for path in outputs:
        if path.suffix not in makers:
            raise ConfigurationError(f"--output must end in one of {', '.join(makers)}; got {str(path)!r}.")
    found, texts = find_runs(runs), find_perplexities(runs)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, makers[path.suffix](found, texts))
        say(f"{len(found) + len(texts)} runs are in {path}.")
