"""``focusllm eval``: benchmarks over lengths and depths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from focusllm.cli import loading
from focusllm.cli.progress import ERRORS
from focusllm.errors import ConfigurationError

if TYPE_CHECKING:
    from focusllm.evaluation.systems import System


def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The benchmark; see below.")],
    lengths: Annotated[
        str, typer.Option("--lengths", help="Tokens of the texts, separated by commas; K for 1,024.")
    ] = "4K,8K,16K,32K",
    depths: Annotated[int, typer.Option("--depths", help="Depths, evenly spread over the text.")] = 10,
    trials: Annotated[int, typer.Option("--trials", help="Samples of each length.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the samples.")] = 0,
    system: Annotated[str, typer.Option("--system", help="What reads; see below.")] = "focusllm",
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies",
            help="Ways of decoding to compare, separated by commas: paper, cached, refresh-16, focused, once. Each "
            "text is read once for all of them; each has a folder in --output.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the results; a run in it is taken up again. [default: TASK]"),
    ] = None,
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    chunk_kv: loading.ChunkKv = None,
    local_length: loading.LocalLength = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    focus_share: loading.FocusShare = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Measure reading over lengths and depths.

    passkey: a five-digit key in repeated sentences, as in Landmark Attention; passkey-infinitebench: as in
    InfiniteBench; facts: a fact in real text, in wordings and words the bundled model was never trained on;
    facts-second, facts-third: the same in other wordings; number-string, key-value, math-find, code-run: after
    InfiniteBench; lines: after LongEval; niah-single-1 to -3, niah-multikey-1 to -3, niah-multivalue, niah-multiquery,
    variable-tracking, common-words, frequent-words: after RULER; world-person, -thing, -holder, -count, -before: a
    small world, after bAbI. All are generated, with seeds.

    Systems: focusllm; the base given the end, the start or both ends of the text (base-end, base-start, base-ends),
    all of it with its positions scaled (base-stretched, base-ntk, base-yarn), a sliding window with attention sinks
    (streaming), the chunks BM25 finds (retrieval), or the chunk it is surest about (best-chunk).
    """
    from focusllm.evaluation.runner import Grid, run_grids
    from focusllm.evaluation.runs import SAMPLES_NAME
    from focusllm.evaluation.systems import POLICIES, SYSTEMS, FocusSystem, Reading
    from focusllm.evaluation.tasks.registry import TASKS

    _check_known("TASK", task, TASKS)
    _check_known("--system", system, SYSTEMS)
    names = [] if policies is None else policies.split(",")
    for name in names:
        _check_known("--policies", name, POLICIES)
    if names and (system != "focusllm" or (local_refresh, candidate_refresh, focus_share) != (None, None, None)):
        raise ConfigurationError(
            "--policies say how FocusLLM decodes: leave out --system, --local-refresh and the like."
        )
    grid, folder = Grid(tuple(map(parse_length, lengths.split(","))), depths, trials, seed), output or Path(task)
    focus = loading.load_model(
        model, adapter, dtype, device, None, chunk_length=chunk_length, chunk_kv=chunk_kv, local_length=local_length,
        local_refresh=local_refresh, candidate_refresh=candidate_refresh,
        focus_share=focus_share,
    )  # fmt: skip
    reading = Reading()
    systems: dict[Path, System] = {
        folder / name / SAMPLES_NAME: FocusSystem(focus, POLICIES[name], reading) for name in names
    } or {folder / SAMPLES_NAME: SYSTEMS[system](focus)}
    with Progress(console=ERRORS, transient=True) as bar:
        line = bar.add_task(task, total=len(grid.lengths) * grid.trials * len(systems))
        runs = run_grids(TASKS[task], systems, focus, grid, lambda _: bar.advance(line))
    for path, records in runs.items():
        _report(path.parent, f"{task}, {systems[path].name}", records)
    ERRORS.print(f"Samples, tables and heat maps are in {folder}/.", style="dim", highlight=False)


def _report(folder: Path, title: str, records: Sequence[dict[str, Any]]) -> None:
    from focusllm.evaluation.report import by_length, draw_heat_map, markdown_table

    table = f"{title}\n\n{markdown_table(by_length(records))}"
    (folder / "table.md").write_text(table, encoding="utf-8")
    draw_heat_map(records, title, folder / "heatmap.png")
    typer.echo(table)


def _check_known(option: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise ConfigurationError(f"{option} must be one of {', '.join(known)}; got {name!r}.")


def parse_length(text: str) -> int:
    """Read a number of tokens; K stands for 1,024.

    Raises:
        ConfigurationError: It is no such number.
    """
    digits, unit = (text[:-1], 1024) if text[-1:] in ("K", "k") else (text, 1)
    if not digits.strip().isdigit():
        raise ConfigurationError(f"Lengths are numbers such as 4K or 400000; got {text!r}.")
    return int(digits) * unit
