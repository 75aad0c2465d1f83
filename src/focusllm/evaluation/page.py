"""One self-contained page about runs: tables, curves, heat maps; the same as Markdown."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from focusllm.evaluation.perplexity_report import PerplexityRun, perplexities, perplexity_curves
from focusllm.evaluation.report import (
    GroupResult,
    as_markdown,
    by_group,
    curves,
    has_depths,
    heat_map,
    in_markdown,
    is_published,
    mean_of_subsets,
)
from focusllm.evaluation.runs import R, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Published scores, on the authors' models: task, system, model, score in percent, source.
PUBLISHED = (
    ("passkey-landmark", "FocusLLM", "LLaMA-2-7B", "99 at 400K", "arXiv 2408.11745, figure 1"),
    ("passkey-infinitebench", "FocusLLM", "Vicuna-7B-v1.5", "95.76", "arXiv 2408.11745, table 2"),
    ("passkey-infinitebench", "FocusLLM", "LLaMA-2-7B-chat", "99.32", "arXiv 2408.11745, table 4"),
    ("passkey-infinitebench", "Activation Beacon", "LLaMA-2-7B-chat", "1.69", "arXiv 2408.11745, table 8"),
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1c1c1c; }
h1, h2 { line-height: 1.2; } table { border-spacing: 0; margin: 0.5rem 0 1rem; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #d5d5d5; padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 7rem; overflow-wrap: anywhere;
position: sticky; left: 0; background: #fff; } .wide { overflow-x: auto; } h1, h2, summary { overflow-wrap: anywhere; }
img { max-width: max(100%, 36rem); height: auto; } details { margin: 0.3rem 0; }
pre { font-size: 0.8rem; overflow-x: auto; }
@media print { details { display: none; } section { break-inside: avoid; } img { max-width: 100%; }
.wide { overflow: visible; } table { font-size: 0.65rem; } th, td { white-space: normal; padding: 0.25rem; }
th:first-child, td:first-child { min-width: 6rem; position: static; } }
"""
Table = list[list[str]]


def html_page(runs: Sequence[Run], texts: Sequence[PerplexityRun], title: str) -> str:
    """Return the page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    for task, group in _by_task(runs):
        parts += ["<section>", f"<h2>{escape(task)}</h2>", _html_table(_scores(group))]
        parts += [_html_table(table) for table in (_differences(group), _published(task)) if table]
        if not is_published(group[0].records):
            parts.append(_image(curves(group, task), f"{task}: score by tokens"))
            parts += [
                _image(heat_map(run.records, run.label), f"{run.label}: score by tokens and depth")
                for run in group
                if has_depths(run.records)
            ]
        parts += [_details(run) for run in group]
        parts.append("</section>")
    for text, group in _by_task(texts):
        parts += ["<section>", f"<h2>{escape(text)}</h2>", _html_table(perplexities(group))]
        parts.append(_image(perplexity_curves(group, text), f"{text}: by position"))
        parts += [*(_details(run) for run in group), "</section>"]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{escape(title)}</title><style>{_STYLE}</style></head>"
    return f'<!doctype html><html lang="en">{head}<body>{"".join(parts)}</body></html>\n'


def markdown_page(runs: Sequence[Run], texts: Sequence[PerplexityRun], title: str) -> str:
    """Return the tables as Markdown."""
    parts = [f"# {in_markdown(title)}"]
    for task, group in _by_task(runs):
        parts.append(f"## {in_markdown(task)}")
        parts += [as_markdown(table) for table in (_scores(group), _differences(group), _published(task)) if table]
    for text, group in _by_task(texts):
        parts += [f"## {in_markdown(text)}", as_markdown(perplexities(group))]
    return "\n\n".join(parts) + "\n"


def _by_task(runs: Sequence[R]) -> Iterator[tuple[str, list[R]]]:
    for task, group in groupby(runs, lambda run: run.task):
        yield task, list(group)


def _scores(runs: Sequence[Run]) -> Table:
    """A row for each system, a column for each length: score, interval, count; the other way round for subsets."""
    results = by_group([record for run in runs for record in run.records])
    table = [["score in %, 95% interval, n", *(result.full_name for result in results)]]
    for run in runs:
        own = {result.group: result for result in run.results}
        table.append([run.label, *(_score(own.get(result.group)) for result in results)])
    if not is_published(runs[0].records):
        return table
    means = [mean_of_subsets(run.records) for run in runs]
    last = ["mean of subsets", *("" if mean is None else f"{mean[1]:.1%}, {mean[0]} subsets" for mean in means)]
    return [*map(list, zip(*table, strict=True)), *([last] if any(means) else [])]


def _score(result: GroupResult | None) -> str:
    if result is None:
        return ""
    low, high = result.interval
    return f"{result.score:.1%} [{low:.1%}, {high:.1%}] n={result.trials}"


def _differences(runs: Sequence[Run]) -> Table:
    """How far each system is from the first one, on the samples both have."""
    first, *others = runs
    table = [[f"difference to {first.label}", "points", "95% interval", "n"]]
    for run in others:
        if (found := run.difference_to(first)) is not None:
            count, difference, (low, high) = found
            table.append([run.label, f"{100 * difference:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}", str(count)])
    return table if len(table) > 1 else []


def _published(task: str) -> Table:
    rows = [list(row[1:]) for row in PUBLISHED if row[0] == task]
    return [["published, on another model", "model", "score in %", "source"], *rows] if rows else []


def _html_table(table: Table) -> str:
    head, *rows = table
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _image(figure: "Figure", what: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    return f'<div class="wide"><img alt="{escape(what)}" src="{source}"></div>'


def _details(run: Run | PerplexityRun) -> str:
    header = escape(json.dumps(run.header, indent=2))
    return f"<details><summary>{escape(run.label)}: how it was run</summary><pre>{header}</pre></details>"
