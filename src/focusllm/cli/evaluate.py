"""``focusllm eval``: generated benchmarks over lengths and depths, published ones from their files."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.progress import RunBar, run_bar, say
from focusllm.errors import ConfigurationError

if TYPE_CHECKING:
    from focusllm.evaluation.cells import Suite
    from focusllm.evaluation.systems import System
    from focusllm.model import FocusModel

# Lengths and samples of each: of a task, and of the whole suite, which is to be done within the hour on two cores.
_LENGTHS, _TRIALS = "4K,8K,16K,32K", 20
_SUITE_LENGTHS, _SUITE_TRIALS = "4K,16K", 8


def evaluate(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A task or benchmark of those above, or several, separated by commas.")
    ],
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths",
            help="Lengths of the texts in tokens, separated by commas; K for 1,024.",
            show_default="4K,8K,16K,32K; 4K,16K of the suite",
        ),
    ] = None,
    depths: Annotated[
        int | None,
        typer.Option("--depths", help="At how many depths things are hidden, from start to end.", show_default="10"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            help="Samples of each length, or of each subset.",
            show_default="20; 8 of the suite; all of a subset",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the samples.", show_default="0")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Clone of a published benchmark's repository, with its data.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="How a published benchmark is run: official, or paper, as in the FocusLLM authors' code.",
            show_default="official",
        ),
    ] = None,
    subsets: Annotated[
        str | None,
        typer.Option("--subsets", help="Subsets of a published benchmark, separated by commas.", show_default="all"),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            help="Prompt templates of infinitebench: yarn_mistral, gpt4, claude2, …",
            show_default="yarn_mistral",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Format a published benchmark's prompts with the tokenizer's chat template.")
    ] = False,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="In longbench-v2, reason first, then answer (officially --cot).")
    ] = False,
    system: Annotated[str, typer.Option("--system", help="What answers, one of the systems above.")] = "focusllm",
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies",
            help="Ways of decoding to compare, separated by commas: paper, cached, refresh-16, focused, once. Each "
            "text is read once for all; each way gets a folder in --output.",
            show_default="the adapter's",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the results; an interrupted run in it resumes.", show_default="TASK"
        ),
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
    """Measure how well long texts are read, by generated or by published benchmarks.

    Generated tasks, over lengths and depths:

    passkey, passkey-infinitebench: a five-digit key in repeated sentences
    facts, facts-second, facts-third: a fact in real text, in wordings that the
      bundled model was never trained on
    number-string, key-value, math-find, code-run: after InfiniteBench
    lines: after LongEval
    niah-single-1, -2, -3, niah-multikey-1, -2, -3, niah-multivalue,
      niah-multiquery, variable-tracking, common-words, frequent-words:
      after RULER
    world-person, -thing, -holder, -count, -before: a small world, after bAbI
    suite: one task of each kind

    Published benchmarks, read from --data (see docs/evaluation.md):

    longbench, longbench-e, longbench-v2, infinitebench, babilong

    Measurements with options of their own (see their --help):

    ablate: variants of a recipe, trained and compared
    perplexity: how well a text is predicted, by position

    Systems, all with the same base:

    focusllm
    base-end, base-start, base-ends: given the end, the start, or both
    base-stretched, base-ntk, base-yarn: given all of it, positions scaled
    streaming: a sliding window with attention sinks
    retrieval: given the chunks that BM25 finds
    best-chunk: answering from the chunk it is surest about

    Example: focusllm eval passkey --lengths 4K,64K --trials 20
    """
    from focusllm.evaluation.runner import run_suites
    from focusllm.evaluation.runs import SAMPLES_NAME, title_of
    from focusllm.evaluation.systems import POLICIES, SYSTEMS

    generated = {"lengths": lengths, "depths": depths, "seed": seed}
    published = {
        "data": data, "protocol": protocol, "subsets": subsets, "templates": templates, "chat": chat or None,
        "reasoning": reasoning or None,
    }  # fmt: skip
    tasks, folder = _named(task), output or Path(task)
    if task == "suite":
        generated["lengths"] = lengths or _SUITE_LENGTHS
        trials = _SUITE_TRIALS if trials is None else trials
    suites = {name: _suite(name, generated, published, trials) for name in tasks}
    _check_known("--system", system, SYSTEMS)
    names = [] if policies is None else policies.split(",")
    for name in names:
        _check_known("--policies", name, POLICIES)
    if names and (system != "focusllm" or (local_refresh, candidate_refresh, focus_share) != (None, None, None)):
        raise ConfigurationError(
            "--policies say how FocusLLM decodes: leave out --system, --local-refresh and the like."
        )
    focus = loading.load_model(
        model, adapter, dtype, device, None, chunk_length=chunk_length, chunk_kv=chunk_kv, local_length=local_length,
        local_refresh=local_refresh, candidate_refresh=candidate_refresh,
        focus_share=focus_share,
    )  # fmt: skip
    readers = _systems(focus, system, names)
    places = {name: folder / name if len(suites) > 1 else folder for name in suites}
    every = [
        (suite, {places[name] / own / SAMPLES_NAME: one for own, one in readers.items()})
        for name, suite in suites.items()
    ]
    with run_bar(len(readers) * sum(suite.work for suite in suites.values()), task) as bar:
        runs = run_suites(every, focus, partial(_advance, bar))
    for suite, systems in every:
        for path, one in systems.items():
            _report(path.parent, f"{title_of(suite.header)}, {one.name}", runs[path])
    say(f"Samples, tables and pictures are in {folder}/.")


def _advance(bar: RunBar, suite: "Suite", record: dict[str, Any], is_new: bool) -> None:
    bar(suite.work_of(record), is_new)


def _named(task: str) -> tuple[str, ...]:
    """Return the benchmarks that were asked for."""
    from focusllm.evaluation.tasks.registry import SUITE

    return SUITE if task == "suite" else tuple(dict.fromkeys(task.split(",")))


def _systems(focus: "FocusModel", system: str, policies: Sequence[str]) -> "dict[str, System]":
    """Return what reads, by the folder of its results; ways of decoding share what was read last."""
    from focusllm.evaluation.readings import Reading
    from focusllm.evaluation.systems import POLICIES, SYSTEMS, FocusSystem

    reading = Reading()
    return {name: FocusSystem(focus, POLICIES[name], reading) for name in policies} or {"": SYSTEMS[system](focus)}


def _suite(task: str, generated: dict[str, Any], published: dict[str, Any], trials: int | None) -> "Suite":
    """Return the samples; options are checked before a model is loaded."""
    from focusllm.evaluation.published.suite import PUBLISHED
    from focusllm.evaluation.runner import Grid, GridSuite
    from focusllm.evaluation.tasks.registry import TASKS
    from focusllm.plotting import check_can_draw

    _check_known("TASK", task, {**TASKS, **PUBLISHED})
    foreign = generated if task in PUBLISHED else published
    if wrong := [f"--{name}" for name, value in foreign.items() if value is not None]:
        kind = "generated" if task in PUBLISHED else "published"
        raise ConfigurationError(f"{task!r} is not a {kind} benchmark: leave out {', '.join(wrong)}.")
    if task in PUBLISHED:
        return _published(task, trials=trials, **published)
    check_can_draw()
    lengths = tuple(map(loading.parse_length, (generated["lengths"] or _LENGTHS).split(",")))
    depths, seed = generated["depths"], generated["seed"]
    grid = Grid(lengths, 10 if depths is None else depths, _TRIALS if trials is None else trials, seed or 0)
    return GridSuite(TASKS[task], grid)


def _published(
    task: str,
    data: Path | None,
    protocol: str | None,
    subsets: str | None,
    templates: str | None,
    chat: bool | None,
    reasoning: bool | None,
    trials: int | None,
) -> "Suite":
    from focusllm.evaluation.published.suite import Choice, PublishedSuite

    if data is None:
        raise ConfigurationError(f"{task} is read from files: give --data, the folder of its repository and its data.")
    names = None if subsets is None else tuple(subsets.split(","))
    choice = Choice(data, protocol or "official", names, trials, templates, bool(chat), bool(reasoning))
    return PublishedSuite(task, choice)


def _report(folder: Path, title: str, records: Sequence[dict[str, Any]]) -> None:
    from focusllm.evaluation.report import draw_heat_map, is_published, markdown_table
    from focusllm.files import write_text

    table = f"{title}\n\n{markdown_table(records)}"
    write_text(folder / "table.md", table)
    if not is_published(records):
        draw_heat_map(records, title, folder / "heatmap.png")
    typer.echo(table)


def _check_known(option: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise ConfigurationError(f"{option} must be one of {', '.join(known)}; got {name!r}.")
