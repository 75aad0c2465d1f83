"""Chunks shared among processes: each reads and condenses its own, and all know every candidate. Source: ours.

Nothing but candidates and the scores of the next token goes from process to process; local contexts run in each.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from transformers import PreTrainedModel

from focusllm.cache.candidates import CandidateKV
from focusllm.decoding.plans import Place

Item = TypeVar("Item")
# Candidates, and the chunk each row of them stands for.
Made = list[tuple[list[Place], CandidateKV]]


class Ranks:
    """The processes that read documents together: those of a group, or this one alone.

    Args:
        base: The base model, alike in all of them.
        group: The group; ``None``: this process alone.
    """

    def __init__(self, base: PreTrainedModel, group: ProcessGroup | None) -> None:
        self._base = base
        self._group = group
        self.count = 1 if group is None else distributed.get_world_size(group)
        self.rank = 0 if group is None else distributed.get_rank(group)

    def owns(self, chunk: int) -> bool:
        """Say whether this process reads the chunk of that number, in whatever document."""
        return chunk % self.count == self.rank

    def own(self, items: Sequence[Item]) -> list[Item]:
        """Return this process's share of things that any process can do."""
        return list(items[self.rank :: self.count])

    def longest(self, length: int) -> int:
        """Return the largest of all processes' lengths."""
        return length if self._group is None else int(self._all(torch.tensor([length])).max())

    def agreed(self, states: Tensor) -> Tensor:
        """Return what the first process has, so that rounding cannot lead them to different tokens."""
        if self._group is not None:
            distributed.broadcast(states, group_src=0, group=self._group)
        return states

    def agreed_seed(self, seed: int | None) -> int | None:
        """Return a seed that all processes draw from: the given one, or one that the first makes up."""
        if seed is not None or self._group is None:
            return seed
        return int(self.agreed(torch.randint(2**31, (1,), device=self._base.device)))

    def gathered(self, made: Made) -> Made:
        """Return the candidates of all processes, whoever made them."""
        if self._group is None:
            return made
        places = [place for some, _ in made for place in some]
        sizes = self._all(torch.tensor([len(places), *self._shapes(made)]))
        counts, shapes = sizes[:, 0].tolist(), sizes[:, 1:].amax(dim=0).view(-1, 3).tolist()
        if not any(counts):
            return []
        all_places = self._all(_padded(torch.tensor(places, dtype=torch.int64).view(-1, 2), max(counts)))
        width = sum(map(math.prod, shapes))
        rows = [torch.cat([states.flatten(1) for states in _flat(some)], dim=1) for _, some in made]
        mine = torch.cat(rows) if rows else torch.empty(0, width, dtype=self._base.dtype, device=self._base.device)
        # As bytes, which every backend can send.
        states = self._all(_padded(mine.view(torch.uint8), max(counts))).view(mine.dtype)
        return [
            ([(sequence, chunk) for sequence, chunk in of_rank[:count].tolist()], _unflattened(some[:count], shapes))
            for of_rank, some, count in zip(all_places, states, counts, strict=True)
            if count
        ]

    def _shapes(self, made: Made) -> list[int]:
        """Return the shape a row has in the keys and in the values of each layer; zeros where nothing was made."""
        if not made:
            return [0] * (6 * self._base.config.num_hidden_layers)
        return [size for states in _flat(made[0][1]) for size in states.shape[1:]]

    def _all(self, mine: Tensor) -> Tensor:
        """Return what each process has, one behind the other: (processes, *shape)."""
        mine = mine.to(self._base.device).contiguous()
        found = [torch.empty_like(mine) for _ in range(self.count)]
        distributed.all_gather(found, mine, group=self._group)
        return torch.stack(found)


def _flat(candidates: CandidateKV) -> list[Tensor]:
    return [states for layer in candidates.layers for states in layer]


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat((rows, rows.new_zeros(count - len(rows), *rows.shape[1:])))


def _unflattened(rows: Tensor, shapes: Sequence[Sequence[int]]) -> CandidateKV:
    """Undo what was done for sending: (rows, all keys and values) to those of each layer."""
    parts = rows.split(list(map(math.prod, shapes)), dim=1)
    states = [part.view(len(rows), *shape) for part, shape in zip(parts, shapes, strict=True)]
    return CandidateKV(list(zip(states[::2], states[1::2], strict=True)))
