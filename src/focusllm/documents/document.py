"""A document that is read once and asked many questions. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import cut_into_chunks, num_repeated
from focusllm.errors import DocumentError


@dataclass(frozen=True)
class Identity:
    """What the keys and values of chunks depend on, besides the chunks.

    Attributes:
        base: Fingerprint of the base's weights and positions.
        tokenizer: Fingerprint of the tokenizer; empty without one.
        dtype: Precision of the base.
        chunk_bos: The token at the head of every chunk, or ``None``.
        chunk_kv: How they are kept; see :class:`~focusllm.config.FocusConfig`.
    """

    base: str
    tokenizer: str
    dtype: str
    chunk_bos: int | None
    chunk_kv: str = "model"

    def __str__(self) -> str:
        kept = "" if self.chunk_kv == "model" else f", kept as {self.chunk_kv}"
        names = f"base {self.base[:8]}, tokenizer {self.tokenizer[:8] or 'none'}"
        return f"{names}, {self.dtype}, BOS {self.chunk_bos}{kept}"


@dataclass
class FocusDocument:
    """A document, cut into chunks whose keys and values are kept, because they do not depend on any question.

    Made by :meth:`FocusModel.index` and :meth:`FocusModel.load_document`.

    Attributes:
        name: What messages call it.
        token_ids: Its tokens.
        chunk_length: Tokens per chunk; the last one may be shorter.
        chunk_overlap: How many of the last tokens of the previous chunk each chunk starts with.
        identity: What the keys and values were made with: base, tokenizer, precision.
        chunks: The tokens, cut into chunks.
        text: The text that the tokens come from; ``None`` if the document was given as tokens.
        starts: For each token, where in the text it starts, in characters; empty if that is not known.
        cache: The chunks' keys and values; ``None`` until they are needed, which for a document that fits the
            base's window may be never.
    """

    name: str
    token_ids: Sequence[int]
    chunk_length: int
    chunk_overlap: int
    identity: Identity
    text: str | None = None
    starts: Sequence[int] = ()
    cache: ChunkCache | None = None
    chunks: tuple[Sequence[int], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = cut_into_chunks(self.token_ids, self.chunk_length, self.chunk_overlap)

    def __repr__(self) -> str:
        # Not the text, which may be a library, nor what it is made of.
        sizes = ", ".join(f"{name}={getattr(self, name)}" for name in ("num_tokens", "num_chunks", "chunk_length"))
        return f"FocusDocument({self.name!r}, {sizes}, num_bytes={self.num_bytes()})"

    @property
    def num_tokens(self) -> int:
        """How many tokens it has."""
        return len(self.token_ids)

    @property
    def num_chunk_tokens(self) -> int:
        """How many tokens its chunks have together, which is what is read: more than it has where they overlap."""
        return sum(map(len, self.chunks))

    @property
    def num_chunks(self) -> int:
        """How many chunks it is cut into."""
        return len(self.chunks)

    @property
    def num_repeated(self) -> int:
        """How many of its tokens stand in two chunks."""
        return num_repeated(self.num_tokens, self.chunk_length, self.chunk_overlap)

    def characters_of(self, chunk: int) -> tuple[int, int] | None:
        """Return where in the text a chunk's own tokens start and end, or ``None`` where that is not known."""
        if self.text is None or not self.starts:
            return None
        first, after = chunk * self.chunk_length, (chunk + 1) * self.chunk_length
        return self.starts[first], self.starts[after] if after < len(self.starts) else len(self.text)

    def bytes_of_tiers(self) -> dict[str, int]:
        """Return the bytes of its chunks' keys and values on the "device", in "cpu" memory beside it, in a "folder"."""
        return (self.cache or ChunkCache()).bytes_of_tiers()

    def num_bytes(self) -> int:
        """Return the bytes of all keys and values at hand."""
        return 0 if self.cache is None else self.cache.num_bytes()

    def save(self, folder: str | Path) -> None:
        """Write the document with its keys and values; :meth:`FocusModel.load_document` reads it.

        Raises:
            DocumentError: The folder holds something else, or other processes hold a part of the document.
        """
        if self.cache is not None and self.cache.num_chunks < self.num_chunks:
            raise DocumentError(
                f"{self.name} is shared among processes: this one holds {self.cache.num_chunks} of its "
                f"{self.num_chunks} chunks. Index it in a single process to save it."
            )
        # The folder is made of documents, and not the other way round.
        from focusllm.documents.folder import written_folder

        with written_folder(folder, self) as target:
            for batch in [] if self.cache is None else self.cache.batches:
                if not target.known.issuperset(batch.rows):
                    target.write(batch)
