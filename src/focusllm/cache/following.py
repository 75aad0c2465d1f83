"""Chunks of sequences that go on from one another, as beams do. Source: ours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from focusllm.cache.chunks import ChunkBatch, ChunkCache


def follow(chunks: ChunkCache, parents: Sequence[int]) -> None:
    """Put behind the chunks of each sequence what came behind those of another, its parent, with equal chunks."""
    where = {place: (batch, row) for batch in chunks.batches for row, place in enumerate(batch.row_places)}
    followed = []
    for batch in chunks.batches:
        sources = [where[parents[sequence], chunk] for sequence, chunk in batch.row_places]
        behind = {id(source): source.behind() for source, _ in sources}
        layers = zip(*([(k[row], v[row]) for k, v in behind[id(source)]] for source, row in sources), strict=True)
        states = [(torch.stack([k for k, _ in layer]), torch.stack([v for _, v in layer])) for layer in layers]
        candidate_ids = torch.stack([_candidate_id(source, row) for source, row in sources])
        followed.append((batch, batch.kept_beside(states), candidate_ids))
    # Only now: a sequence may be the parent of others.
    for batch, others, candidate_ids in followed:
        batch.put_behind(others)
        batch.candidate_ids = candidate_ids


def _candidate_id(batch: ChunkBatch, row: int) -> Tensor:
    assert batch.candidate_ids is not None  # whoever has something to follow has been asked something
    return batch.candidate_ids[row]
