"""``focusllm ask``: a question about files."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.processes import num_processes, shared_work
from focusllm.cli.progress import Stopwatch, Times, advice, described, in_tiers, reading_bar, say
from focusllm.cli.streaming import printer_of
from focusllm.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from focusllm.answering import Answer
    from focusllm.model import FocusModel


def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... QUESTION",
            help="One or more text files, folders made by `focusllm index`, or '-' for standard input; then one or "
            "more questions.",
        ),
    ],
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    chunk_kv: loading.ChunkKv = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    focus_share: loading.FocusShare = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    max_new_tokens: loading.MaxNewTokens = 32,
    sample: Annotated[bool, typer.Option("--sample", help="Sample the answer instead of decoding greedily.")] = False,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Temperature of --sample.", show_default="the base's")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            help="With --sample, use the likeliest tokens that have this probability together.",
            show_default="the base's",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of --sample.", show_default="random")] = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Show peak memory and where keys and values are kept.")
    ] = False,
    evidence: Annotated[bool, typer.Option("--evidence", help="Print the parts of the text it rests on.")] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option("--heatmap", help="PNG file to draw: which chunks each token of the answer rests on."),
    ] = None,
    quiet: loading.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print answer, evidence and figures as JSON.")] = False,
) -> None:
    """Answer questions about text files of any length.

    Example: focusllm ask book.txt "What is the name of the ship?"
    """
    names, questions = _divided(arguments)
    texts = {name: loading.document(name) for name in names if not isdir(name)}
    if quiet and stats:
        raise ConfigurationError("--quiet prints no figures, and --stats more of them: leave one of the two out.")
    draw = _sampling(sample, temperature=temperature, top_p=top_p, seed=seed)
    if heatmap is not None:
        _check_heatmap(heatmap)
    indexed = loading.records_of(filter(isdir, names))
    loading.check_cut([] if texts else indexed, chunk_length)
    dtype, chunk_kv = loading.as_indexed(indexed, dtype, chunk_kv)
    with advice(not quiet), shared_work(device) as place:
        focus = loading.load_model(
            model, adapter, dtype, max_parallel_chunks=max_parallel_chunks, **place,
            chunk_length=chunk_length, chunk_kv=chunk_kv, local_refresh=local_refresh,
            candidate_refresh=candidate_refresh, focus_share=focus_share,
        )  # fmt: skip
        documents = [texts[name] if name in texts else focus.load_document(name) for name in names]
        # A person reads along; what another program reads, and several answers, come as a whole.
        is_live = sys.stdout.isatty() and len(questions) == 1 and not as_json
        answers = []
        with reading_bar(is_shown=not quiet) as bar:
            close = bar.close if bar else lambda: None
            watch = Stopwatch(printer_of(focus, close) if is_live else None)
            given = focus.answers(documents, questions, max_new_tokens, bar, streamer=watch, **draw)
            for question, answer in zip(questions, given, strict=True):
                close()
                answers.append(answer)
                figures = _figures(answer, watch.rounds[-1])
                if as_json:
                    typer.echo(_as_json(question, answer, figures))
                    continue
                said = "" if is_live else f"{answer.text}\n"
                title = f"{question}\n" if len(questions) > 1 else ""
                typer.echo(title + said + (_spans(answer) if evidence else ""), nl=False)
                if not quiet:
                    say(_summary(figures, stats, evidence and not answer.num_chunks))
        if stats and (tiers := _tiers(documents)):
            say(tiers)
        if heatmap is not None:
            _draw(heatmap, answers, focus)


def _spans(answer: "Answer") -> str:
    return "".join(described(span) for span in answer.evidence)


def _as_json(question: str, answer: "Answer", figures: dict[str, Any]) -> str:
    spans = [asdict(span) for span in answer.evidence]
    return json.dumps({"question": question, "answer": answer.text, **figures, "evidence": spans})


def _divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Tell documents from questions: the first argument is a document, and so are those after it that exist."""
    # A question may be longer than any path, which `Path.exists` does not bear.
    count = 1
    while count < len(arguments) and (arguments[count] == "-" or exists(arguments[count])):
        count += 1
    names, questions = arguments[:count], arguments[count:]
    if not questions:
        raise InputError("Give one or more files and then the question: focusllm ask book.txt 'Who is the captain?'")
    loading.check_distinct(names)
    once = [name for name in names if name == "-" or (exists(name) and not isfile(name) and not isdir(name))]
    if once and num_processes() > 1:
        raise InputError("Standard input and pipes cannot be shared among processes: write them to files first.")
    for question in questions:
        ending = Path(question).suffix[1:]
        if len(question.split()) == 1 and ending.isascii() and ending.isalnum():
            raise InputError(f"There is no file {question!r}, and it does not look like a question.")
    words = [question for question in questions if len(question.split()) == 1 and question.isascii()]
    if len(words) == len(questions) > 1 and not all(word.endswith("?") for word in words):
        raise InputError(f"Put the question in quotation marks: {' '.join(words)!r}.")
    return names, questions


def _sampling(is_asked: bool, **settings: float | None) -> dict[str, Any]:
    """Return how to sample; settings of it are refused where nothing is sampled, for they would change nothing."""
    given = {name: value for name, value in settings.items() if value is not None}
    if given and not is_asked:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigurationError(f"{named} would change nothing: add --sample, or leave out what belongs to it.")
    return {"do_sample": True, **given} if is_asked else {}


def _check_heatmap(path: Path) -> None:
    """Refuse a picture that could not be drawn in the end, before anything is read."""
    from focusllm.plotting import check_can_draw

    if path.suffix.lower() != ".png":
        raise InputError(f"--heatmap draws a PNG: give a name that ends in .png; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} for --heatmap {path}: make it, or give another.")
    check_can_draw()


def _draw(path: Path, answers: "list[Answer]", focus: "FocusModel") -> None:
    """Draw every answer's evidence; several answers get files with numbers."""
    from focusllm.evidence import draw_evidence

    for number, answer in enumerate(answers, start=1):
        if not answer.chunk_shares:
            raise InputError("There is nothing to draw: the document fits the window, so no chunk was read.")
        assert focus.tokenizer is not None  # it has encoded the question
        tokens = [str(focus.tokenizer.decode([token])) for token in answer.token_ids]
        target = path if len(answers) == 1 else path.with_stem(f"{path.stem}-{number}")
        draw_evidence(tokens, answer.chunk_shares, target)


def _tiers(documents: list[Any]) -> str:
    """Say where the keys and values of indexed documents lie; nothing, where there are none."""
    sizes = Counter[str]()
    for document in documents:
        if hasattr(document, "bytes_of_tiers"):
            sizes.update(document.bytes_of_tiers())
    found = in_tiers(sizes)
    return f"Chunks: {found}" if found else ""


def _figures(answer: "Answer", times: Times) -> dict[str, Any]:
    from focusllm.cache.memory import peak_bytes

    return {
        "tokens": answer.num_tokens,
        "chunks": answer.num_chunks,
        "seconds": round(answer.seconds, 3),
        "seconds_to_first_token": round(times.to_first_token, 3),
        "tokens_per_second": None if times.tokens_per_second is None else round(times.tokens_per_second, 2),
        "peak_memory_bytes": peak_bytes(),
    }


def _summary(figures: dict[str, Any], with_memory: bool, lacks_evidence: bool) -> str:
    parts = [
        f"{figures['tokens']:,} tokens in {figures['chunks']:,} chunks",
        f"first token after {figures['seconds_to_first_token']:.1f} s",
    ]
    if figures["tokens_per_second"] is not None:
        parts.append(f"then {figures['tokens_per_second']:.1f} tokens/s")
    if with_memory:
        parts.append(f"peak memory {figures['peak_memory_bytes'] / 1e9:.2f} GB")
    if lacks_evidence:
        parts.append("no evidence, for all of it fits the window")
    return ", ".join(parts)
