"""The keys and values of candidates: what stands for the chunks in front of the local context."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from focusllm.cache.rotation import KeyMover


@dataclass(frozen=True)
class CandidateKV:
    """Candidates of some chunks, layer by layer.

    Attributes:
        layers: Keys and values of each layer, each (rows, kv_heads, candidates, head_dim).
    """

    layers: list[tuple[Tensor, Tensor]]

    def moved(self, mover: KeyMover, shift: Int[Tensor, "rows candidates"]) -> "CandidateKV":
        """Return the candidates with their keys ``shift`` positions further on."""
        moved = []
        for layer, (keys, values) in enumerate(self.layers):
            if mover.rotates_values:
                moved.append((keys, mover.move(layer, values, shift)))
            else:
                moved.append((mover.move(layer, keys, shift), values))
        return CandidateKV(moved)

    def rows(self, chosen: Int[Tensor, " rows"]) -> "CandidateKV":
        """Return the candidates of some rows, in that order; a row may be chosen more than once."""
        return CandidateKV([(keys[chosen], values[chosen]) for keys, values in self.layers])

    def room_for(self, rows: int, candidates: int) -> "CandidateKV":
        """Return room for so many candidates of the same layers, heads and kind, not yet filled."""

        def room(states: Tensor) -> Tensor:
            return states.new_empty(rows, states.shape[1], candidates, states.shape[3])

        return CandidateKV([(room(keys), room(values)) for keys, values in self.layers])

    def put(self, made: "CandidateKV", sources: Sequence[int], rows: Sequence[int], numbers: Sequence[int]) -> None:
        """Put rows of new candidates, those of one chunk each, where they belong.

        Args:
            made: New candidates, (rows, kv_heads, per_chunk, head_dim).
            sources: Which rows of it.
            rows: For each, the row here.
            numbers: For each, the chunk's number in that row.
        """
        device = self.layers[0][0].device
        # Once for all layers: to a GPU, each of them would have to be sent as often as it is used.
        source, row, number = (torch.tensor(places, device=device) for places in (sources, rows, numbers))
        for mine, new in zip(self.layers, made.layers, strict=True):
            for states, new_states in zip(mine, new, strict=True):
                # By chunks: a view, (rows, kv_heads, chunks, per_chunk, head_dim).
                states.unflatten(2, (-1, new_states.shape[2]))[row, :, number] = new_states[source]
