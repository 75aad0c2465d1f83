"""Chunks that were read for one sample, for whoever asks about equal ones next. Source: ours.

A chunk's keys and values depend on nothing but its tokens, so equal chunks are read once: of one sample by systems that
differ in how they decode, of samples that share text, and within one. A haystack of five sentences said over and over
has twenty different chunks in 400,000 tokens.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.condensing.families import bytes_per_token
from focusllm.decoding.engine import FocusEngine

# Keys and values that are held although the sample at hand has no use for them.
_HELD_BYTES = 2**30

# Tokens of a chunk, and its numbers in a sequence.
Chunk = tuple[int, ...]
Numbers = dict[Chunk, list[int]]


@dataclass(frozen=True)
class _Held:
    """Chunks that went through the base together: the tokens of each row."""

    chunks: list[Chunk]
    batch: ChunkBatch

    def those_in(self, chunks: Collection[Chunk]) -> "_Held":
        """Return the rows of some chunks."""
        rows = [row for row, chunk in enumerate(self.chunks) if chunk in chunks]
        return _Held([self.chunks[row] for row in rows], self.batch.own_part(rows))

    def for_those_in(self, numbers: Numbers) -> ChunkBatch:
        """Return the rows a sequence has, standing for every chunk of it that equals them."""
        held = self.those_in(numbers)
        return held.batch.standing_for([[(0, number) for number in numbers[chunk]] for chunk in held.chunks])


class Reading:
    """The chunks read so far, within bounds: whoever asks about equal ones next need not read them again."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        # What is held, here or by another process that shares the chunks: all of them must find the same to be unread.
        self._known: set[Chunk] = set()
        self._read_as: tuple[Any, ...] = ()
        self._chunks: tuple[Sequence[int], ...] = ()
        self._cache = ChunkCache()

    def of(self, engine: FocusEngine, sequence: SplitSequence) -> ChunkCache:
        """Return the chunks of a sequence."""
        read_as = engine.config.chunk_bos, engine.config.chunk_kv
        if (sequence.chunks, read_as) != (self._chunks, self._read_as):
            # A reading that is cut short leaves nothing that could be taken for this one.
            self._chunks, self._cache = (), ChunkCache()
            numbers: Numbers = {}
            for number, chunk in enumerate(sequence.chunks):
                numbers.setdefault(tuple(chunk), []).append(number)
            if read_as != self._read_as:
                self._held, self._known, self._read_as = [], set(), read_as
            self._read(engine, numbers, engine.config.prompt_length(len(sequence.local)) + 1)
            self._cache = ChunkCache(
                [held.for_those_in(numbers) for held in self._held if not numbers.keys().isdisjoint(held.chunks)]
            )
            self._chunks = sequence.chunks
        return self._cache

    def _read(self, engine: FocusEngine, numbers: Numbers, prompt_length: int) -> None:
        """Read those chunks that have not been read; what is not needed makes room first where there is too much."""
        unread = [chunk for chunk in numbers if chunk not in self._known]
        tokens = sum(map(len, self._known)) + sum(map(len, unread))
        if tokens * bytes_per_token(engine.base) > _HELD_BYTES:
            self._known &= numbers.keys()
            self._held = [held.those_in(self._known) for held in self._held if not self._known.isdisjoint(held.chunks)]
        if unread:
            for batch in engine.index([unread], [prompt_length]).batches:
                self._held.append(_Held([unread[number] for _, number in batch.rows], batch))
            self._known.update(unread)
