"""The keys and values of chunks, which survive from one decode step to the next."""

from dataclasses import dataclass, field

from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache

from focusllm.cache.layers import GrowingLayer, growing_cache


@dataclass
class ChunkBatch:
    """Chunks that go through the base together because their rows have the same length.

    Attributes:
        places: For each row, which sequence of the batch it belongs to and which chunk of it it is.
        candidate_ids: (rows,) the token that was the candidate last; it is not in the cache yet.
        cache: Keys and values of the chunk and the prompt block, without the candidate.
    """

    places: list[tuple[int, int]]
    candidate_ids: Int[Tensor, " rows"]
    cache: Cache = field(default_factory=growing_cache)


@dataclass
class ChunkCache:
    """Every chunk of every sequence of a batch."""

    batches: list[ChunkBatch] = field(default_factory=list)

    def num_bytes(self) -> int:
        """Return the bytes of all keys and values held."""
        layers = (layer for batch in self.batches for layer in batch.cache.layers)
        return sum(layer.num_bytes() for layer in layers if isinstance(layer, GrowingLayer))
