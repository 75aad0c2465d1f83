"""Keys and values of chunks in eight bits: half the memory, restored whenever they are needed. Source: ours.

Each token of each head has a scale of its own, so that one large value costs no other token its precision.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from focusllm.cache.homes import KeptAtHand, LayerTensors

_LARGEST = 127


@dataclass(frozen=True)
class EightBits:
    """Keys or values of one layer.

    Attributes:
        codes: Whole numbers from -127 to 127.
        scales: What a code of 1 stands for, for each token of each head; in the precision of what was given.
    """

    codes: Int8[Tensor, "rows kv_heads tokens head_dim"]
    scales: Float[Tensor, "rows kv_heads tokens 1"]

    def restored(self) -> Float[Tensor, "rows kv_heads tokens head_dim"]:
        """Return what the codes stand for."""
        return self.codes.to(self.scales.dtype) * self.scales

    def part(self, rows: Sequence[int]) -> "EightBits":
        """Return a copy of some rows."""
        return EightBits(self.codes[rows], self.scales[rows])

    def num_bytes(self) -> int:
        """Return the bytes of codes and scales."""
        return self.codes.numel() + self.scales.numel() * self.scales.element_size()


def to_eight_bits(states: Float[Tensor, "rows kv_heads tokens head_dim"]) -> EightBits:
    """Round keys or values to eight bits."""
    # In 16 bits, quotients would be rounded once before they are rounded to codes.
    exact = states.to(torch.promote_types(states.dtype, torch.float32))
    largest = exact.abs().amax(dim=-1, keepdim=True)
    # The smallest scale that counts keeps a token of nothing but zeros finite.
    scales = (largest / _LARGEST).clamp(min=torch.finfo(states.dtype).tiny).to(states.dtype)
    codes = (exact / scales).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return EightBits(codes, scales)


@dataclass(frozen=True)
class EightBitHome:
    """The keys and values of a batch of chunks, in memory, in eight bits."""

    layers: Sequence[tuple[EightBits, EightBits]]

    def parts(self) -> Iterator[LayerTensors]:
        """Yield keys and values of each layer."""
        yield [(keys.restored(), values.restored()) for keys, values in self.layers]

    def part(self, rows: Sequence[int]) -> "EightBitHome":
        """Return a copy of some rows."""
        return EightBitHome([(keys.part(rows), values.part(rows)) for keys, values in self.layers])

    def num_bytes(self) -> int:
        """Return how many bytes they take here."""
        return sum(keys.num_bytes() + values.num_bytes() for keys, values in self.layers)

    def beside(self, layers: LayerTensors) -> KeptAtHand:
        """Keep what came behind the chunks at hand, as it is."""
        return KeptAtHand([(keys.clone(), values.clone()) for keys, values in layers])
