"""Where the keys and values of chunks can be had again when they are not at hand. Source: ours."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

# Keys and values of each layer, (rows, kv_heads, tokens, head_dim).
LayerTensors = list[tuple[Tensor, Tensor]]


@runtime_checkable
class Home(Protocol):
    """Where the keys and values of a batch of chunks lie when they are not at hand."""

    def parts(self) -> Iterator[LayerTensors]:
        """Yield keys and values of each layer, (rows, kv_heads, chunk, head_dim), some rows after the other."""
        ...

    def num_bytes(self) -> int:
        """Return how many bytes they take there."""
        ...


def bytes_of(layers: LayerTensors) -> int:
    """Return the bytes of the keys and values of all layers."""
    return sum(states.nbytes for pair in layers for states in pair)
