"""``focusllm estimate``: what reading will cost."""

from pathlib import Path
from typing import Annotated, Any

import typer

from focusllm.cli import loading
from focusllm.cli.progress import in_tiers
from focusllm.errors import ConfigurationError, InputError

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
            help="A text file, a folder made by `focusllm index`, or a number of tokens; K for 1,024.",
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
    from focusllm.documents.text import text_of

    number, dtype = _number(document), loading.dtype_for([document], dtype)
    focus = loading.load_model(
        model, adapter, dtype, device, max_parallel_chunks,
        chunk_length=chunk_length, chunk_kv=chunk_kv, local_refresh=local_refresh, candidate_refresh=candidate_refresh,
        focus_share=focus_share,
    )  # fmt: skip
    num_tokens = len(focus.encode(text_of(Path(document)))) if number is None else number
    found = focus.estimate(num_tokens)
    hint = " (see focusllm index)" if found.tier_bytes["folder"] else ""
    rows = {
        "document": f"{found.num_tokens:,} tokens in {found.num_chunks:,} chunks",
        "weights": f"{found.weight_bytes / 1e6:,.0f} MB",
        "keys and values": f"{found.document_bytes / 1e6:,.0f} MB: {in_tiers(found.tier_bytes)}{hint}",
        "reading it, once": f"{found.index_seconds:,.2f} s",
        "first token": f"{found.first_token_seconds:,.2f} s after a question",
        "each further token": f"{found.next_token_seconds:,.3f} s",
    }
    if (local_refresh, candidate_refresh, focus_share) == (None, None, None):
        own = {"candidate_refresh": focus.config.candidate_refresh, "focus_share": focus.config.focus_share}
        for policy in POLICIES:
            named = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in policy.items())
            seconds = focus.configure(**{**own, **policy}).estimate(num_tokens).next_token_seconds
            rows[f"  {named}"] = f"{seconds:,.3f} s"
    width = max(map(len, rows)) + 1
    for name, value in rows.items():
        typer.echo(f"{name:{width}} {value}")


def _number(document: str) -> int | None:
    """Return the number of tokens that was given, or that an indexed document has; ``None`` where a file was given."""
    from focusllm.documents.manifest import read_manifest

    try:
        return loading.parse_length(document)
    except ConfigurationError:
        path = Path(document)
        if not path.exists():
            raise InputError(f"There is no file {document!r}, and it is not a number of tokens.") from None
        return read_manifest(path).num_tokens if path.is_dir() else None
