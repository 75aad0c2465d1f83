"""``focusllm index``: read a document once, to ask it many questions."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from focusllm.cli import loading
from focusllm.cli.progress import advice, reading_bar, say
from focusllm.errors import ConfigurationError, DamageError

if TYPE_CHECKING:
    from focusllm.documents.manifest import Manifest


def index(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Text file, or '-' for standard input; with --repair, the folder.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Compute again what is damaged or missing in a folder, from the text in it."),
    ] = False,
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    chunk_kv: loading.ChunkKv = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
    quiet: loading.Quiet = False,
) -> None:
    """Read a file once and keep the result in a folder, to ask it many questions.

    `focusllm ask` and `chat` take the folder in place of the file. Run the same
    command again after an interruption, after damage, or when the file has
    grown: only what is missing is read.

    Example: focusllm index book.txt -o book.focus
    """
    folder = _folder(file, output, repair)
    source = None if repair else loading.document(file)
    before = _before(folder, repair)
    loading.check_cut(before if repair else [], chunk_length)
    dtype, chunk_kv = loading.as_indexed(before, dtype, chunk_kv)
    with advice(not quiet):
        focus = loading.load_model(
            model, adapter, dtype, device, max_parallel_chunks, chunk_length=chunk_length, chunk_kv=chunk_kv,
        )  # fmt: skip
    started, tokens_read = time.perf_counter(), 0
    with advice(not quiet), reading_bar(is_shown=not quiet) as bar:

        def move(read: int, total: int) -> None:
            nonlocal tokens_read
            tokens_read = read
            if bar is not None:
                bar(read, total)

        if source is None:
            document = focus.repair_document(folder, progress=move)
        else:
            document = focus.index(source, folder, progress=move)
    if not quiet:
        seconds = time.perf_counter() - started
        kept = document.num_chunk_tokens - tokens_read
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(
            f"{document.num_tokens:,} tokens in {document.num_chunks:,} chunks; {tokens_read:,} tokens read in "
            f"{seconds:.1f} s ({tokens_read / seconds:,.0f}/s), {kept:,} were there already. {size / 1e6:,.0f} MB in "
            f"{folder}/; it reveals as much as the text does, and only you can read it."
        )


def _folder(file: str, output: Path | None, repair: bool) -> Path:
    if repair and output is not None:
        raise ConfigurationError("--repair takes the folder in place of FILE; leave out --output.")
    if not repair and output is None:
        raise ConfigurationError("Say where to keep what is read: --output FOLDER.")
    return Path(file) if output is None else output


def _before(folder: Path, repair: bool) -> "list[Manifest]":
    """Return what a folder says of itself that is to be gone on with or repaired; nothing, where it is to be made."""
    from focusllm.documents.manifest import MANIFEST_NAME

    if not repair and not (folder / MANIFEST_NAME).is_file():
        return []
    try:
        return loading.records_of([folder])
    except DamageError:
        if repair:
            raise
        # Indexing again is what mends it.
        return []
