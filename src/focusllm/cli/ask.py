"""``focusllm ask``: a question about files."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.progress import ERRORS, Stopwatch, peak_memory_bytes, reading_bar
from focusllm.errors import InputError

if TYPE_CHECKING:
    from focusllm.model import Answer


def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="FILE... QUESTION", help="Text files ('-': standard input), then the question."),
    ],
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Most tokens of the answer.")] = 32,
    sample: Annotated[bool, typer.Option("--sample", help="Draw the answer instead of taking the likeliest.")] = False,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Of the draw.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Of the draw.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw.")] = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
    stats: Annotated[bool, typer.Option("--stats", help="Show peak memory as well.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the answer and nothing else.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print answer and figures as JSON.")] = False,
) -> None:
    """Answer a QUESTION about one or more text FILEs of any length.

    Example: focusllm ask book.txt "What is the name of the ship?"
    """
    if len(arguments) < 2:
        raise InputError("Give one or more files and then the question: focusllm ask book.txt 'Who is the captain?'")
    *names, question = arguments
    documents = [_document(name) for name in names]
    focus = loading.load_model(
        model, adapter, dtype, device, max_parallel_chunks,
        chunk_length=chunk_length, local_refresh=local_refresh, candidate_refresh=candidate_refresh,
    )  # fmt: skip
    watch = Stopwatch()
    with reading_bar(is_shown=not quiet and sys.stderr.isatty()) as bar:
        answer: Any = focus.ask(
            documents, question, max_new_tokens=max_new_tokens, progress=bar, streamer=watch,
            do_sample=sample, temperature=temperature, top_p=top_p, seed=seed,
        )  # fmt: skip
    figures = _figures(answer, watch)
    if as_json:
        typer.echo(json.dumps({"answer": answer.text, **figures}))
        return
    typer.echo(answer.text)
    if not quiet:
        ERRORS.print(_summary(figures, stats), style="dim", highlight=False)


def _document(name: str) -> str | Path:
    if name != "-":
        return Path(name)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"Standard input is not UTF-8 text ({error.reason}); FocusLLM reads text.") from error


def _figures(answer: "Answer", watch: Stopwatch) -> dict[str, Any]:
    return {
        "tokens": answer.num_tokens,
        "chunks": answer.num_chunks,
        "seconds": round(answer.seconds, 3),
        "seconds_to_first_token": round(watch.seconds_to_first_token, 3),
        "tokens_per_second": None if watch.tokens_per_second is None else round(watch.tokens_per_second, 2),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _summary(figures: dict[str, Any], with_memory: bool) -> str:
    parts = [
        f"{figures['tokens']:,} tokens in {figures['chunks']:,} chunks",
        f"first token after {figures['seconds_to_first_token']:.1f} s",
    ]
    if figures["tokens_per_second"] is not None:
        parts.append(f"then {figures['tokens_per_second']:.1f} tokens/s")
    if with_memory:
        parts.append(f"peak memory {figures['peak_memory_bytes'] / 1e9:.2f} GB")
    return ", ".join(parts)
