"""``focusllm chat``: questions about documents, one after the other."""

import sys
from contextlib import suppress
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.progress import described, reading_bar, say
from focusllm.cli.streaming import printer_of
from focusllm.errors import FocusError, InputError

if TYPE_CHECKING:
    from focusllm.answering import Answer
    from focusllm.documents.document import FocusDocument
    from focusllm.model import FocusModel

_HELP = (
    "Ask about it. /evidence: where the last answer stands; /new: forget what was said; /quit: leave; "
    "Ctrl-C: end an answer."
)


def chat(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Text files, or folders made by `focusllm index`.")
    ],
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    chunk_kv: loading.ChunkKv = None,
    local_length: loading.LocalLength = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    focus_share: loading.FocusShare = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    max_new_tokens: loading.MaxNewTokens = 128,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Ask one question after the other about one document or several.

    Earlier questions and answers are part of every question, as far as
    --local-length and the window allow.
    """
    from focusllm.documents.text import readable

    loading.check_distinct(files)
    texts = {file: readable(Path(file)) for file in files if not isdir(file)}
    indexed = loading.records_of(filter(isdir, files))
    loading.check_cut([] if texts else indexed, chunk_length)
    dtype, chunk_kv = loading.as_indexed(indexed, dtype, chunk_kv)
    focus = loading.load_model(
        model, adapter, dtype, device, max_parallel_chunks, chunk_length=chunk_length, chunk_kv=chunk_kv,
        local_length=local_length, local_refresh=local_refresh, candidate_refresh=candidate_refresh,
        focus_share=focus_share,
    )  # fmt: skip
    with reading_bar() as bar:
        documents = [
            focus.index(texts[file], progress=bar) if file in texts else focus.load_document(file) for file in files
        ]
    num_tokens, num_chunks = (sum(getattr(one, name) for one in documents) for name in ("num_tokens", "num_chunks"))
    say(f"{num_tokens:,} tokens in {num_chunks:,} chunks. {_HELP}")
    _converse(focus, documents, max_new_tokens)


def _converse(focus: "FocusModel", documents: "list[FocusDocument]", max_new_tokens: int) -> None:
    """Answer line by line until the input ends, or the user has had enough."""
    history: list[tuple[str, str]] = []
    last: Answer | None = None
    for line in _lines():
        if line == "/quit":
            return
        if line == "/new":
            history.clear()
        elif line == "/evidence":
            typer.echo(_evidence(last), nl=False)
        elif line.startswith("/") and len(line.split()) == 1:
            say(f"There is no command {line}. {_HELP}")
        else:
            printer = printer_of(focus)
            try:
                answer = focus.ask(documents, line, max_new_tokens=max_new_tokens, history=history, streamer=printer)
            except FocusError as error:
                # What was read is still there: another question may do.
                typer.echo(f"Error: {error}", err=True)
                continue
            except KeyboardInterrupt:
                # It ends the answer; where nothing is being answered, the chat.
                printer.end()
                say("Interrupted. Ask on, or /quit.")
                continue
            history.append((line, answer.text))
            last = answer


def _lines() -> Any:
    """Yield what the user types until the input ends; empty lines are passed over."""
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        # Once it is imported, lines can be edited and brought back.
        with suppress(ImportError):
            import readline  # noqa: F401
    while True:
        try:
            line = input(prompt).strip()
        except UnicodeDecodeError as error:
            raise InputError(f"Standard input is not UTF-8 text ({error.reason}); FocusLLM reads text.") from error
        except EOFError:
            if prompt:
                typer.echo()
            return
        if line:
            yield line


def _evidence(answer: "Answer | None") -> str:
    if answer is None or not answer.evidence:
        return "There is no answer yet, or the document fits the window.\n"
    return "".join(described(span) for span in answer.evidence)
