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
        return CandidateKV([(mover.move(keys, shift), values) for keys, values in self.layers])

    def row(self, index: int) -> "CandidateKV":
        """Return one row, still with its leading axis."""
        return CandidateKV([(keys[index : index + 1], values[index : index + 1]) for keys, values in self.layers])


def join_candidates(parts: Sequence[CandidateKV]) -> CandidateKV:
    """Put the candidates of one sequence side by side, in the order of their chunks."""
    return _concatenate(parts, dim=-2)


def stack_rows(parts: Sequence[CandidateKV]) -> CandidateKV:
    """Put the candidates of several sequences under each other."""
    return _concatenate(parts, dim=0)


def _concatenate(parts: Sequence[CandidateKV], dim: int) -> CandidateKV:
    layers = zip(*(part.layers for part in parts), strict=True)
    return CandidateKV(
        [(torch.cat([k for k, _ in pairs], dim=dim), torch.cat([v for _, v in pairs], dim=dim)) for pairs in layers]
    )
