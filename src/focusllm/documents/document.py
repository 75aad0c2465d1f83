"""A document that is read once and asked many questions. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from focusllm.cache.chunks import ChunkCache


@dataclass
class FocusDocument:
    """A document, cut into chunks whose keys and values are kept; they do not depend on any question.

    Attributes:
        name: What messages call it.
        token_ids: Its tokens.
        chunks: Its tokens again, cut into chunks.
        cache: The chunks' keys and values; ``None`` until they are needed, which a document within the base's
            window may never be.
    """

    name: str
    token_ids: Sequence[int]
    chunks: tuple[Sequence[int], ...]
    cache: ChunkCache | None = None

    @property
    def num_tokens(self) -> int:
        """How many tokens it has."""
        return len(self.token_ids)

    @property
    def num_chunks(self) -> int:
        """How many chunks it is cut into."""
        return len(self.chunks)

    def num_bytes(self) -> int:
        """Return the bytes of all keys and values held."""
        return 0 if self.cache is None else self.cache.num_bytes()
