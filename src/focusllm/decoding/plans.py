"""Which chunks go through the base together, so that the device is busy and its memory suffices. Source: ours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from transformers import PreTrainedModel

from focusllm.cache.memory import free_bytes
from focusllm.condensing.families import bytes_per_token
from focusllm.errors import ConfigurationError

# Tokens that go through the base at once, where memory allows: enough to keep the device busy.
_TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
# Keys and values of chunks that are asked together, at most, where not even one reading of chunks makes more.
_BATCH_BYTES = 512 * 2**20
# Part of the free memory that hidden states may take; keys and values have their own budgets.
_PASSING_SHARE = 0.25

Place = tuple[int, int]


@dataclass(frozen=True)
class ReadingPlan:
    """Chunks that are asked together.

    Attributes:
        places: Document and number of each.
        chunk_length: Tokens of each.
        prompt_length: Tokens for which room is left behind each.
        rows_at_once: How many of them go through the base at once when they are read.
    """

    places: list[Place]
    chunk_length: int
    prompt_length: int
    rows_at_once: int


class ChunkPlanner:
    """Puts chunks of equal lengths together, as many as the device has use and memory for.

    Args:
        base: The base model.
        max_parallel_chunks: Chunks that go through the base at once; ``None`` chooses by their length and by the
            memory that is free when they are read.

    Raises:
        ConfigurationError: That is no whole number, or less than 1.
    """

    def __init__(self, base: PreTrainedModel, max_parallel_chunks: int | None) -> None:
        given = max_parallel_chunks
        if given is not None and (type(given) is not int or given < 1):
            raise ConfigurationError(f"`max_parallel_chunks` must be a whole number of at least 1; got {given!r}.")
        self._base = base
        self.max_parallel_chunks = max_parallel_chunks

    def plan(
        self,
        documents: Sequence[Sequence[Sequence[int]]],
        prompt_lengths: Sequence[int],
        places: Sequence[Place],
        batch_bytes: int | None = None,
    ) -> Iterator[ReadingPlan]:
        """Yield the groups in which chunks are read and asked.

        Args:
            documents: The chunks of each document.
            prompt_lengths: For each, how long the prompt block of a question is likely to be.
            places: Document and number of the chunks that are to be read.
            batch_bytes: Keys and values of the chunks that are asked together; ``None``: as many as are of use.
        """
        lengths = {(d, c): (len(documents[d][c]), prompt_lengths[d]) for d, c in places}
        for (length, prompt_length), group in groupby(sorted(places, key=lengths.__getitem__), lengths.__getitem__):
            members = list(group)
            at_once = self.rows_at_once(length + prompt_length)
            together = self.max_parallel_chunks or self._num_together(length, at_once, batch_bytes or _BATCH_BYTES)
            for start in range(0, len(members), together):
                yield ReadingPlan(members[start : start + together], length, prompt_length, at_once)

    def rows_at_once(self, new_tokens: int) -> int:
        """Return how many chunks go through the base at once with so many new tokens each."""
        if self.max_parallel_chunks:
            return self.max_parallel_chunks
        device = next(self._base.parameters()).device
        affordable = int(free_bytes(device) * _PASSING_SHARE) // _passing_bytes(self._base)
        return max(min(_TOKENS_AT_ONCE.get(device.type, 65536), affordable) // new_tokens, 1)

    def _num_together(self, length: int, at_once: int, batch_bytes: int) -> int:
        # An answer's tokens come one at a time: rows of many chunks keep the device busy.
        together = batch_bytes // (length * bytes_per_token(self._base))
        return max(together // at_once, 1) * at_once


def _passing_bytes(base: PreTrainedModel) -> int:
    """Return about how many bytes one token needs while it goes through a layer.

    Counted are what a layer's attention and MLP hold at the same time: the residual and its norm, queries, keys,
    values and output, and the gate, the up projection and their product.
    """
    config: Any = base.config.get_text_config()
    hidden = config.hidden_size
    intermediate = getattr(config, "intermediate_size", None) or 4 * hidden
    return (6 * hidden + 3 * intermediate) * base.dtype.itemsize
