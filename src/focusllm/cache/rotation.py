"""Moving rotary keys from one position to another.

A rotary key at position ``a`` is the un-rotated key turned by ``a`` times a set of frequencies, so turning it
by the difference ``b - a`` gives the key at ``b``. Source: RoFormer (arXiv 2104.09864); use here: ours.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class TableFrequencies(nn.Module):
    """The frequencies of models that look angles up in a table (GPT-J's).

    Args:
        rotary_dim: How many dimensions of a head are turned.
    """

    def __init__(self, rotary_dim: int) -> None:
        super().__init__()
        self.inv_freq = 10_000 ** -(torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim)


class KeyMover:
    """Turns keys by differences of position.

    Args:
        rotary: The base's rotary embedding; ``None`` where positions are absolute.
        frequencies: For each layer, the attribute of the rotary embedding that holds its frequencies, which cover the
            rotary part of a head; ``None`` where keys have no position to be moved from.
        pairs_neighbors: Whether a dimension is paired with the next one, not with the one half-way on.
        rotates_values: Whether caches hold what has positions in the place of values (MLA).
    """

    def __init__(
        self,
        rotary: nn.Module | None,
        frequencies: Sequence[str | None],
        pairs_neighbors: bool,
        rotates_values: bool = False,
    ) -> None:
        self._rotary = rotary
        self._frequencies = frequencies
        self._pairs_neighbors = pairs_neighbors
        self.rotates_values = rotates_values

    def move(
        self,
        layer: int,
        keys: Float[Tensor, "batch kv_heads sequence head_dim"],
        shift: Int[Tensor, "batch sequence"],
    ) -> Float[Tensor, "batch kv_heads sequence head_dim"]:
        """Return the keys of a layer ``shift`` positions further on (or back, where it is negative)."""
        name = self._frequencies[layer]
        if name is None:
            return keys
        # Looked up at every call: a model that is moved to a device gets new ones.
        frequencies: Tensor = getattr(self._rotary, name)
        # Angles in double precision: they are few, and positions may be in the thousands.
        angles = shift.to(torch.float64).unsqueeze(-1) * frequencies.to(device=shift.device, dtype=torch.float64)
        precision = torch.promote_types(keys.dtype, torch.float32)
        cos, sin = (turn(angles).to(precision).unsqueeze(1) for turn in (torch.cos, torch.sin))
        rotary_dim = 2 * frequencies.shape[-1]
        first, second = self._halves(keys[..., :rotary_dim].to(precision))
        turned = self._joined(first * cos - second * sin, second * cos + first * sin).to(keys.dtype)
        return torch.cat((turned, keys[..., rotary_dim:]), dim=-1) if rotary_dim < keys.shape[-1] else turned

    def _halves(self, states: Tensor) -> tuple[Tensor, Tensor]:
        if self._pairs_neighbors:
            return states[..., 0::2], states[..., 1::2]
        first, second = states.chunk(2, dim=-1)
        return first, second

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        if self._pairs_neighbors:
            return torch.stack((first, second), dim=-1).flatten(-2)
        return torch.cat((first, second), dim=-1)
