"""The keys and values of chunks, which survive from one decode step, and from one question, to the next."""

from dataclasses import dataclass, field, replace

from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache

from focusllm.cache.layers import GrowingLayer, growing_cache


@dataclass
class ChunkBatch:
    """Chunks that go through the base together because they have the same length.

    Attributes:
        places: For each row, which sequence of the batch it belongs to and which chunk of it it is.
        cache: Keys and values of the chunks; behind them those of whoever asked last: prompt block and answer,
            without the candidate.
        num_own: How many tokens of each row are the chunk's own.
        candidate_ids: The token of each row that was the candidate last and is not in the cache yet.
    """

    places: list[tuple[int, int]]
    cache: Cache = field(default_factory=growing_cache)
    num_own: int = 0
    candidate_ids: Int[Tensor, " rows"] | None = None

    def forget_question(self) -> None:
        """Keep the chunks' own keys and values only."""
        if others := self.cache.get_seq_length() - self.num_own:
            self.cache.crop(-others)
        self.candidate_ids = None


@dataclass
class ChunkCache:
    """Every chunk of every sequence of a batch."""

    batches: list[ChunkBatch] = field(default_factory=list)

    def num_bytes(self) -> int:
        """Return the bytes of all keys and values held."""
        layers = (layer for batch in self.batches for layer in batch.cache.layers)
        return sum(layer.num_bytes() for layer in layers if isinstance(layer, GrowingLayer))

    def lent(self, first_number: int) -> "ChunkCache":
        """Return the same keys and values for a question, as chunks number ``first_number`` on of sequence 0.

        Nothing is copied: what the question adds is forgotten when the next one starts.
        """
        return ChunkCache(
            [
                replace(batch, places=[(0, first_number + number) for _, number in batch.places])
                for batch in self.batches
            ]
        )
