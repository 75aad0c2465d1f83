"""Chunks of many small documents, gathered so that they go through the base together. Source: ours.

Chunks share a batch where their lengths are equal, so a hundred source files would be a hundred passes for every token
of an answer. For the time of a question, small batches are copied into few larger ones, whose shorter rows are padded
on the left: what follows the chunks then stands side by side, and distances within a row stay what they were.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.layers import SLACK, growing_cache

# So many batches are passed through one by one: a single document has no more.
_FEW_BATCHES = 4
# Batches of more rows keep the device busy by themselves.
_FEW_ROWS = 8
# Keys and values that are copied at most, the smallest batches first.
_COPIED_BYTES = 512 * 2**20
# Rows that share a batch are at most so many times as long as the shortest one.
_LONGER = 2


def gathered(
    chunks: ChunkCache, prompt_lengths: Sequence[int], device: torch.device, most_rows: int | None
) -> ChunkCache:
    """Return the same chunks in fewer batches, if there are many small ones.

    Args:
        chunks: Chunks nobody has asked anything yet. Their batches stay as they are; copies stand in for small ones.
        prompt_lengths: For each sequence, the tokens that are to follow its chunks; only equal ones share a batch.
        device: Where the copies go.
        most_rows: Chunks that may share a batch; ``None``: any number.
    """
    by_prompt: dict[int, list[ChunkBatch]] = {}
    for batch in chunks.batches:
        by_prompt.setdefault(prompt_lengths[batch.rows[0][0]], []).append(batch)
    found = []
    for prompt_length, batches in by_prompt.items():
        small = list(_smallest(batches))
        if len(small) <= _FEW_BATCHES:
            found += batches
            continue
        copied = set(map(id, small))
        found += [batch for batch in batches if id(batch) not in copied]
        for group in _alike(small, most_rows):
            found.append(group[0] if len(group) == 1 else _joined(group, device, prompt_length + SLACK))
    return ChunkCache(found)


def _smallest(batches: Sequence[ChunkBatch]) -> Iterator[ChunkBatch]:
    copied = 0
    few = [batch for batch in batches if len(batch.rows) <= _FEW_ROWS]
    for batch in sorted(few, key=ChunkBatch.num_bytes_kept):
        copied += batch.num_bytes_kept()
        if copied > _COPIED_BYTES:
            return
        yield batch


def _alike(batches: Sequence[ChunkBatch], most_rows: int | None) -> Iterator[list[ChunkBatch]]:
    """Yield groups of batches whose rows are not too different in length, nor too many."""
    group: list[ChunkBatch] = []
    rows = 0
    for batch in sorted(batches, key=lambda batch: batch.num_own):
        rows += len(batch.rows)
        if group and (batch.num_own > _LONGER * group[0].num_own or rows > (most_rows or rows)):
            yield group
            group, rows = [], len(batch.rows)
        group.append(batch)
    yield group


def _joined(group: Sequence[ChunkBatch], device: torch.device, room: int) -> ChunkBatch:
    longest = group[-1].num_own
    kept = [batch.own_wherever() for batch in group]
    cache = growing_cache(room)
    for index, layer in enumerate(zip(*kept, strict=True)):
        keys, values = (_padded(states, longest, device) for states in zip(*layer, strict=True))
        cache.update(keys, values, index)
    padding = [longest - batch.num_own for batch in group for _ in batch.rows]
    # Numbered as in the whole sequence already.
    rows: list[tuple[int, int]] = []
    repeats: list[tuple[int, tuple[int, int]]] = []
    for batch in group:
        others = batch.places[len(batch.rows) :]
        repeats += [(len(rows) + row, place) for (row, _), place in zip(batch.repeats, others, strict=True)]
        rows += batch.row_places
    padded = torch.tensor(padding, device=device) if any(padding) else None
    return ChunkBatch(rows, cache, num_own=longest, padding=padded, repeats=repeats)


def _padded(states: Sequence[Tensor], length: int, device: torch.device) -> Tensor:
    """Put keys, or values, of several batches one below the other, (rows, kv_heads, length, head_dim)."""
    return torch.cat([torch.nn.functional.pad(some.to(device), (0, 0, length - some.shape[-2], 0)) for some in states])
