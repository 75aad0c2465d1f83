"""``focusllm estimate``: what reading will cost."""

from os.path import exists, isdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.progress import in_tiers
from focusllm.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from focusllm.documents.manifest import Manifest
    from focusllm.estimating import Estimate
    from focusllm.model import FocusModel

# Ways of decoding that are cheaper than the adapter's own.
POLICIES: tuple[dict[str, Any], ...] = (
    {"local_refresh": "cached"},
    {"local_refresh": "cached", "candidate_refresh": 16},
    {"local_refresh": "cached", "candidate_refresh": 16, "focus_share": 0.99},
    {"local_refresh": "cached", "candidate_refresh": 0},
)


def estimate(
    document: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TOKENS",
            help="A text file, a folder made by `focusllm index`, '-' for standard input, or a number of tokens; K for "
            "1,024.",
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
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Estimate the memory and time that a question about a document will take.

    A few chunks are run to measure speeds; the document itself is not read.
    """
    source = _source(document)
    cut: dict[str, Any] = {"chunk_length": chunk_length}
    if not isinstance(source, int | str | Path):
        dtype, chunk_kv = loading.as_indexed([source], dtype, chunk_kv)
        # With a length of its own: what it would cost to index the text again.
        if chunk_length is None:
            cut = {"chunk_length": source.chunk_length, "chunk_overlap": source.chunk_overlap}
    focus = loading.load_model(
        model, adapter, dtype, device, max_parallel_chunks, **cut, chunk_kv=chunk_kv, local_refresh=local_refresh,
        candidate_refresh=candidate_refresh, focus_share=focus_share,
    )  # fmt: skip
    num_tokens = _num_tokens(source, focus)
    found = focus.estimate(num_tokens)
    rows = _rows(found)
    # Of a text that is left whole, nothing is ever made again.
    if found.num_chunks and (local_refresh, candidate_refresh, focus_share) == (None, None, None):
        own = focus.config
        for policy in POLICIES:
            named = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in policy.items())
            if (other := own.changed(policy)) != own:
                seconds = focus.configure(**other.to_dict()).estimate(num_tokens).next_token_seconds
                rows[f"  {named}"] = f"{seconds:,.3f} s"
    width = max(map(len, rows)) + 1
    for name, value in rows.items():
        typer.echo(f"{name:{width}} {value}")


def _rows(found: "Estimate") -> dict[str, str]:
    """Return what is printed of an estimate, by its names."""
    is_whole = not found.num_chunks
    said = ", which fit the base's window: no chunks" if is_whole else f" in {found.num_chunks:,} chunks"
    hint = " (see focusllm index)" if found.tier_bytes["folder"] else ""
    of_chunks = {
        "keys and values": f"{found.document_bytes / 1e6:,.0f} MB: {in_tiers(found.tier_bytes)}{hint}",
        "reading it, once": f"{found.index_seconds:,.2f} s",
    }
    return {
        "document": f"{found.num_tokens:,} tokens{said}",
        "weights": f"{found.weight_bytes / 1e6:,.0f} MB",
        **({} if is_whole else of_chunks),
        "first token": f"{found.first_token_seconds:,.2f} s after a question",
        "each further token": f"{found.next_token_seconds:,.3f} s",
    }


def _source(document: str) -> "int | Manifest | str | Path":
    """Return what is to be estimated: a number of tokens, an indexed document, the text of standard input or a file."""
    try:
        return loading.parse_length(document)
    except ConfigurationError:
        if isdir(document):
            return loading.records_of([document])[0]
        if document != "-" and not exists(document):
            raise InputError(f"There is no file {document!r}, and it is not a number of tokens.") from None
        return loading.document(document)


def _num_tokens(source: "int | Manifest | str | Path", focus: "FocusModel") -> int:
    from focusllm.documents.text import text_of

    if isinstance(source, str | Path):
        return len(focus.encode(text_of(source)))
    return source if isinstance(source, int) else source.num_tokens
