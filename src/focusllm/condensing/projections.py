"""The trained projections of a candidate, beside the frozen ones of the base. Source: paper, section 2.2."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
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


def is_dense(layer: nn.Module) -> bool:
    """Say whether a projection keeps its weight as plain numbers, and not in fewer bits in a form of its own."""
    # compressed-tensors gives plain numbers back, and rounds them, and what they are multiplied with, at every call.
    if hasattr(layer, "quantization_scheme"):
        return False
    weight: Any = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and type(weight.data) is Tensor and weight.is_floating_point()


@torch.no_grad()
def dense_weight(layer: nn.Module, dtype: torch.dtype) -> Float[Tensor, "out_features in_features"]:
    """Return the weight a projection amounts to: its own, or what it makes of unit vectors, where that is quantized.

    Args:
        layer: The projection; a quantized one is called, and its weight not looked at.
        dtype: In which a quantized one computes.
    """
    any_layer: Any = layer
    if is_dense(layer):
        # GPT-2's kind of linear layer keeps its weight the other way round.
        return any_layer.weight.T if isinstance(layer, Conv1D) else any_layer.weight
    device = next(chain(layer.parameters(), layer.buffers())).device
    made = any_layer(torch.eye(any_layer.in_features, dtype=dtype, device=device))
    bias = getattr(layer, "bias", None)
    return (made if bias is None else made - bias).T


class CandidateProjection(nn.Module):
    """A frozen projection of the base that treats candidates in a way of its own.

    Every position goes through the base's projection; the result at candidate positions is replaced by that
    of a trained one. It starts as the same function: a full copy (``rank=None``, the paper's), or the frozen
    projection plus a low-rank difference that is zero at first (ours).

    Args:
        base_layer: The projection it stands in for, quantized or not; called, never changed.
        gate: Where the candidates are.
        rank: ``None`` or the rank of the difference.
        dtype: In which a quantized base computes, and its candidates with it; others have their projections' own.
    """

    def __init__(self, base_layer: nn.Module, gate: CandidateGate, rank: int | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._gate = gate
        self.rank = rank
        weight = dense_weight(base_layer, dtype)
        self.out_features = weight.shape[0]
        if rank is None:
            self.candidate_weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
            base_bias: Any = getattr(base_layer, "bias", None)
            bias = None if base_bias is None else nn.Parameter(base_bias.detach().clone())
            self.register_parameter("candidate_bias", bias)
        else:
            out_features, in_features = weight.shape
            self.candidate_down = nn.Parameter(weight.new_empty(rank, in_features))
            self.candidate_up = nn.Parameter(weight.new_zeros(out_features, rank))
            nn.init.kaiming_uniform_(self.candidate_down, a=math.sqrt(5))

    @property
    @torch.no_grad()
    def is_untrained(self) -> bool:
        """Whether candidates are still projected as every other token is."""
        if self.rank is not None:
            return not self.candidate_up.any()
        own = self.candidate_weight
        return torch.equal(own, dense_weight(self.base_layer, own.dtype).to(own.dtype))

    def extra_repr(self) -> str:
        """Say of which rank it is where a model is printed."""
        return "full" if self.rank is None else f"rank={self.rank}"

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
