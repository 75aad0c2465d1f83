"""The trained projections of a candidate, beside the frozen ones of the base. Source: paper, section 2.2."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class CandidateGate:
    """Says which positions of the forward pass under way are candidates; shared by all candidate projections.

    ``index`` counts positions through the flattened batch (``row * sequence_length + position``) and is
    ``None`` while no position is a candidate, so that the base computes what it always did.
    """

    def __init__(self) -> None:
        self.index: Int[Tensor, " candidates"] | None = None

    @contextmanager
    def open_at(self, index: Int[Tensor, " candidates"] | None) -> Iterator[None]:
        """Let the positions of ``index`` be candidates inside the ``with`` block."""
        before = self.index
        self.index = index
        try:
            yield
        finally:
            self.index = before


class CandidateProjection(nn.Module):
    """A frozen projection of the base that treats candidates in a way of its own.

    Every position goes through the base's projection; the result at candidate positions is replaced by that
    of a trained one. It starts as the same function: a full copy (``rank=None``, the paper's), or the frozen
    projection plus a low-rank difference that is zero at first (ours).

    Args:
        base_layer: The projection it stands in for; called, never changed.
        gate: Where the candidates are.
        rank: ``None`` or the rank of the difference.
    """

    def __init__(self, base_layer: nn.Linear | Conv1D, gate: CandidateGate, rank: int | None) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._gate = gate
        self.rank = rank
        # GPT-2's kind of linear layer keeps its weight the other way round.
        weight = base_layer.weight.T if isinstance(base_layer, Conv1D) else base_layer.weight
        self.out_features = weight.shape[0]
        if rank is None:
            self.candidate_weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
            bias = None if base_layer.bias is None else nn.Parameter(base_layer.bias.detach().clone())
            self.register_parameter("candidate_bias", bias)
        else:
            out_features, in_features = weight.shape
            self.candidate_down = nn.Parameter(weight.new_empty(rank, in_features))
            self.candidate_up = nn.Parameter(weight.new_zeros(out_features, rank))
            nn.init.kaiming_uniform_(self.candidate_down, a=math.sqrt(5))

    def candidate_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained parameters by name."""
        return {name: value for name, value in self.named_parameters(recurse=False)}

    def forward(self, states: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Project all positions with the base's weights, and candidates with their own."""
        projected = self.base_layer(states)
        index = self._gate.index
        if index is None:
            return projected
        flat = projected.flatten(0, -2)
        own = self._project_candidates(states.flatten(0, -2)[index], flat, index).to(flat.dtype)
        # Without gradients the copy that keeps autograd right would only cost memory traffic.
        replaced = flat.index_copy(0, index, own) if torch.is_grad_enabled() else flat.index_copy_(0, index, own)
        return replaced.view(projected.shape)

    def _project_candidates(
        self,
        states: Float[Tensor, "candidates in_features"],
        by_base: Float[Tensor, "positions out_features"],
        index: Int[Tensor, " candidates"],
    ) -> Float[Tensor, "candidates out_features"]:
        if self.rank is None:
            own_states = states.to(self.candidate_weight.dtype)
            bias: Any = self.candidate_bias
            return nn.functional.linear(own_states, self.candidate_weight, bias)
        down = nn.functional.linear(states.to(self.candidate_down.dtype), self.candidate_down)
        return by_base[index] + nn.functional.linear(down, self.candidate_up)
