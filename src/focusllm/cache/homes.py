"""Where the keys and values of chunks can be had again when they are not at hand. Source: ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

# Keys and values of each layer, (rows, kv_heads, tokens, head_dim).
LayerTensors = list[tuple[Tensor, Tensor]]


@runtime_checkable
class Kept(Protocol):
    """Keys and values of a batch that are kept somewhere."""

    def parts(self) -> Iterator[LayerTensors]:
        """Yield keys and values of each layer, (rows, kv_heads, tokens, head_dim), some rows after the other."""
        ...


@runtime_checkable
class Home(Kept, Protocol):
    """Where the keys and values of a batch of chunks lie when they are not at hand."""

    def num_bytes(self) -> int:
        """Return how many bytes they take there."""
        ...

    def beside(self, layers: LayerTensors) -> Kept:
        """Keep what came behind the chunks in the same tier, in one part; it is copied."""
        ...


@dataclass(frozen=True)
class KeptAtHand:
    """Keys and values that are at hand."""

    layers: LayerTensors

    def parts(self) -> Iterator[LayerTensors]:
        """Yield keys and values of each layer."""
        yield self.layers


def bytes_of(layers: LayerTensors) -> int:
    """Return the bytes of the keys and values of all layers."""
    return sum(states.nbytes for pair in layers for states in pair)
