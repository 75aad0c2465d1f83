"""``focusllm eval``: benchmarks over lengths and depths."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from focusllm.cli import loading
from focusllm.cli.progress import ERRORS
from focusllm.errors import ConfigurationError

app = typer.Typer(help="Measure reading: passkey, facts.", no_args_is_help=True)

Lengths = Annotated[str, typer.Option("--lengths", help="Tokens of the texts, separated by commas; K for 1,024.")]
Depths = Annotated[int, typer.Option("--depths", help="Depths, evenly spread over the text.")]
Trials = Annotated[int, typer.Option("--trials", help="Samples of each length.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the samples.")]
SystemName = Annotated[str, typer.Option("--system", help="focusllm, base-end or base-stretched.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the results; a run in it is taken up again.")]


@app.command("passkey")
def passkey(
    lengths: Lengths = "4K,8K,16K,32K",
    depths: Depths = 10,
    trials: Trials = 20,
    seed: Seed = 0,
    form: Annotated[str, typer.Option("--form", help="landmark or infinitebench.")] = "landmark",
    system: SystemName = "focusllm",
    output: Output = Path("passkey"),
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    local_length: loading.LocalLength = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Find a five-digit key in a text of repeated sentences (Landmark Attention, InfiniteBench)."""
    from focusllm.evaluation.tasks.passkey import Passkey

    if form not in ("landmark", "infinitebench"):
        raise ConfigurationError(f"--form must be landmark or infinitebench; got {form!r}.")
    focus = loading.load_model(
        model, adapter, dtype, device, None, chunk_length=chunk_length, local_length=local_length,
        local_refresh=local_refresh, candidate_refresh=candidate_refresh,
    )  # fmt: skip
    _run(Passkey(form), focus, system, (lengths, depths, trials, seed), output)  # type: ignore[arg-type]


@app.command("facts")
def facts(
    lengths: Lengths = "64K",
    depths: Depths = 10,
    trials: Trials = 100,
    seed: Seed = 0,
    system: SystemName = "focusllm",
    output: Output = Path("facts"),
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    local_length: loading.LocalLength = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Find a fact in real text, in wordings and words the bundled model was never trained on."""
    from focusllm.evaluation.tasks.facts import Facts

    focus = loading.load_model(
        model, adapter, dtype, device, None, chunk_length=chunk_length, local_length=local_length,
        local_refresh=local_refresh, candidate_refresh=candidate_refresh,
    )  # fmt: skip
    _run(Facts(), focus, system, (lengths, depths, trials, seed), output)


def _run(task: Any, model: Any, system_name: str, grid_options: tuple[str, int, int, int], output: Path) -> None:
    from focusllm.evaluation.report import by_length, draw_heat_map, markdown_table
    from focusllm.evaluation.runner import Grid, run_grid
    from focusllm.evaluation.systems import SYSTEMS

    if system_name not in SYSTEMS:
        raise ConfigurationError(f"--system must be one of {', '.join(SYSTEMS)}; got {system_name!r}.")
    lengths, depths, trials, seed = grid_options
    grid = Grid(_parse_lengths(lengths), depths, trials, seed)
    system = SYSTEMS[system_name](model)
    with Progress(console=ERRORS, transient=True) as bar:
        progress_task = bar.add_task(task.name, total=len(grid.lengths) * grid.trials)
        records = run_grid(task, system, model, grid, output / "samples.jsonl", lambda _: bar.advance(progress_task))
    table = markdown_table(by_length(records))
    (output / "table.md").write_text(f"{task.name}, {system.name}\n\n{table}", encoding="utf-8")
    draw_heat_map(records, f"{task.name}: {system.name}", output / "heatmap.png")
    typer.echo(f"{task.name}, {system.name}\n\n{table}")
    ERRORS.print(f"Samples, table and heat map are in {output}/.", style="dim", highlight=False)


def _parse_lengths(text: str) -> tuple[int, ...]:
    lengths = []
    for part in text.split(","):
        digits, unit = (part[:-1], 1024) if part[-1:] in ("K", "k") else (part, 1)
        if not digits.strip().isdigit():
            raise ConfigurationError(f"--lengths takes numbers such as 4K,8K,400000; got {part!r}.")
        lengths.append(int(digits) * unit)
    return tuple(lengths)
