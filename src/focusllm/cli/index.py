"""``focusllm index``: read a document once, to ask it many questions."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli import loading
from focusllm.cli.progress import ERRORS, reading_bar


def index(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Text file ('-': standard input).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the indexed document.")],
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing.")] = False,
) -> None:
    """Read FILE and keep what was read in a folder, which `focusllm ask` takes in place of the file.

    Run it again after an interruption, after damage, or when the file has grown: only what is missing is read.
    """
    source = loading.document(file)
    focus = loading.load_model(model, adapter, dtype, device, max_parallel_chunks, chunk_length=chunk_length)
    started, tokens_read = time.perf_counter(), 0
    with reading_bar(is_shown=not quiet and sys.stderr.isatty()) as bar:

        def move(read: int, total: int) -> None:
            nonlocal tokens_read
            tokens_read = read
            if bar is not None:
                bar(read, total)

        document = focus.index(source, output, progress=move)
    if not quiet:
        seconds = time.perf_counter() - started
        kept = document.num_chunk_tokens - tokens_read
        size = sum(path.stat().st_size for path in output.iterdir())
        ERRORS.print(
            f"{document.num_tokens:,} tokens in {document.num_chunks:,} chunks; {tokens_read:,} tokens read in "
            f"{seconds:.1f} s ({tokens_read / seconds:,.0f}/s), {kept:,} were there already. {size / 1e6:,.0f} MB in "
            f"{output}/; it tells as much as the text, and only you can read it.",
            style="dim",
            highlight=False,
        )
