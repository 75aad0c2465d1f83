"""Moving rotary keys from one position to another.

A rotary key at position ``a`` is the un-rotated key turned by ``a`` times a set of frequencies, so turning it
by the difference ``b - a`` gives the key at ``b``. Source: RoFormer (arXiv 2104.09864); use here: ours.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class KeyMover:
    """Turns keys by differences of position, for rotary embeddings that pair a dimension with the one half-way on.

    Args:
        rotary: The base's rotary embedding; its frequencies cover the rotary part of a head.
    """

    def __init__(self, rotary: nn.Module) -> None:
        self._rotary = rotary

    def move(
        self,
        keys: Float[Tensor, "batch kv_heads sequence head_dim"],
        shift: Int[Tensor, "batch sequence"],
    ) -> Float[Tensor, "batch kv_heads sequence head_dim"]:
        """Return the keys ``shift`` positions further on (or back, where it is negative)."""
        frequencies: Tensor = self._rotary.inv_freq  # type: ignore[assignment]
        # Angles in double precision: they are few, and positions may be in the thousands.
        angles = shift.to(torch.float64).unsqueeze(-1) * frequencies.to(device=shift.device, dtype=torch.float64)
        precision = torch.promote_types(keys.dtype, torch.float32)
        cos, sin = (turn(angles).to(precision).unsqueeze(1) for turn in (torch.cos, torch.sin))
        rotary_dim = 2 * frequencies.shape[-1]
        first, second = keys[..., :rotary_dim].to(precision).chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(keys.dtype)
        return torch.cat((turned, keys[..., rotary_dim:]), dim=-1) if rotary_dim < keys.shape[-1] else turned
