"""Options that several sub-commands share, and loading the model they describe."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli.processes import check_alone
from focusllm.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from focusllm.documents.manifest import Manifest
    from focusllm.model import FocusModel

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Base model: a folder, a name on the Hugging Face Hub (owner/name, or owner/name@revision), or bundled.",
        show_default="the one --adapter was trained on; without it, the bundled one",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        help="The adapter: a folder, a name on the Hugging Face Hub (owner/name, or owner/name@revision), or bundled.",
        show_default="the bundled one's; with --model, none",
    ),
]
ChunkLength = Annotated[
    int | None, typer.Option("--chunk-length", help="Tokens per chunk.", show_default="the adapter's")
]
ChunkKv = Annotated[
    str | None,
    typer.Option(
        "--chunk-kv",
        help="How keys and values of chunks are stored: 'model', as the model computes them, or 'int8', rounded, in "
        "half the space.",
        show_default="the adapter's",
    ),
]
LocalLength = Annotated[
    int | None,
    typer.Option("--local-length", help="Most tokens of local context.", show_default="the adapter's"),
]
LocalRefresh = Annotated[
    str | None,
    typer.Option(
        "--local-refresh",
        help="'recompute' the local context for every new token, or keep it 'cached', which is faster.",
        show_default="the adapter's",
    ),
]
CandidateRefresh = Annotated[
    int | None,
    typer.Option(
        "--candidate-refresh",
        help="Make the candidates of all chunks again every so many new tokens; 0: only once.",
        show_default="the adapter's",
    ),
]
FocusShare = Annotated[
    float | None,
    typer.Option(
        "--focus-share",
        help="Between these refreshes, refresh the chunks that hold this share of the attention, such as 0.99.",
        show_default="the adapter's",
    ),
]
MaxParallelChunks = Annotated[
    int | None,
    typer.Option("--max-parallel-chunks", help="Chunks to run at once.", show_default="as memory allows"),
]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Most tokens of an answer.")]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Precision: bfloat16, float16, float32, or auto: an indexed document's, or else the checkpoint's, but "
        "float32 on a CPU without arithmetic for that.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Device: cpu, cuda, cuda:1, …", show_default="a GPU if there is one")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but what was asked for: no progress, figures or advice.")
]

_DTYPES = ("auto", "bfloat16", "float16", "float32")


def document(name: str) -> str | Path:
    """Return what a document's name on the command line stands for: a path, or the text of standard input or a pipe.

    Raises:
        InputError: There is no such file, or standard input is not text.
    """
    from focusllm.documents.text import decoded, readable

    if name != "-":
        return readable(Path(name))
    # What stands for a closed stream has no bytes.
    data = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if data is None else decoded(data.read(), "Standard input")


def check_distinct(names: Iterable[str]) -> None:
    """Refuse a document that was named twice.

    Raises:
        InputError: One was.
    """
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"{name!r} was given twice; give each document once.")


def records_of(folders: Iterable[str | Path]) -> "list[Manifest]":
    """Return what folders of indexed documents say of themselves, before a model is loaded.

    Raises:
        DocumentError: One holds no document, or is damaged.
    """
    from focusllm.documents.manifest import read_manifest

    return [read_manifest(Path(folder)) for folder in folders]


def as_indexed(records: "Iterable[Manifest]", dtype: str, chunk_kv: str | None) -> tuple[str, str | None]:
    """Return the precision to load a base in and how keys and values are kept: left open, as indexed documents have it.

    A document can then be asked on a machine that would choose another precision by itself.
    """
    for identity in (record.identity for record in records):
        dtype = identity.dtype if dtype == "auto" and identity.dtype in _DTYPES else dtype
        chunk_kv = chunk_kv or identity.chunk_kv
    return dtype, chunk_kv


def check_cut(records: "Iterable[Manifest]", chunk_length: int | None) -> None:
    """Refuse a length of chunks for documents that have been cut already.

    Raises:
        ConfigurationError: It is not the one they were cut by.
    """
    for record in records:
        if chunk_length not in (None, record.chunk_length):
            raise ConfigurationError(
                f"{record.name} was indexed in chunks of {record.chunk_length}, so --chunk-length {chunk_length} would "
                f"change nothing: leave it out, or index the text into another folder."
            )


def load_model(
    model: str | None,
    adapter: str | Path | None,
    dtype: str,
    device: str | None,
    max_parallel_chunks: int | None,
    process_group: "ProcessGroup | None" = None,
    **settings: Any,
) -> "FocusModel":
    """Load a model with the settings that were given; ``None`` leaves the adapter's own.

    Raises:
        ConfigurationError: The precision is unknown, or several processes would do the same work.
    """
    if dtype not in _DTYPES:
        raise ConfigurationError(f"--dtype must be one of {', '.join(_DTYPES)}; got {dtype!r}.")
    from transformers.utils import logging

    from focusllm.model import FocusModel

    if process_group is None:
        check_alone()
    logging.disable_progress_bar()
    given = {name: value for name, value in settings.items() if value is not None}
    if "chunk_length" in given:
        # Who says how long chunks are to be means that.
        given["longest_chunk"] = None
    return FocusModel.from_pretrained(
        model, adapter, config=given, dtype=dtype, device=device, max_parallel_chunks=max_parallel_chunks,
        process_group=process_group,
    )  # fmt: skip


def parse_length(text: str) -> int:
    """Read a number of tokens, such as 400,000 or 64K; K stands for 1,024.

    Raises:
        ConfigurationError: It is no such number.
    """
    plain = text.replace(",", "").replace("_", "")
    digits, unit = (plain[:-1], 1024) if plain[-1:] in ("K", "k") else (plain, 1)
    if not digits.strip().isdecimal():
        raise ConfigurationError(f"Lengths are numbers such as 4K or 400000; got {text!r}.")
    return int(digits) * unit
