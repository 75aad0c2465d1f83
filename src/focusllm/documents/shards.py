"""What a shard of a document's folder holds: keys and values, layer by layer. Source: ours."""

from torch import Tensor

from focusllm.cache.chunks import ChunkBatch
from focusllm.cache.eight_bits import EightBitHome, EightBits
from focusllm.cache.homes import LayerTensors

_NAMES = ("keys", "values")
# What the name of scales ends with, where a shard holds eight bits.
_SCALES = "_scales"


def shard_tensors(batch: ChunkBatch, start: int, end: int) -> dict[str, Tensor]:
    """Return what a shard holds of some rows: keys and values as they are, or their codes and scales."""
    if isinstance(batch.home, EightBitHome):
        tensors: dict[str, Tensor] = {}
        for index, pair in enumerate(batch.home.layers):
            for name, states in zip(_NAMES, pair, strict=True):
                tensors[f"layers.{index}.{name}"] = _own_copy(states.codes[start:end])
                tensors[f"layers.{index}.{name}{_SCALES}"] = _own_copy(states.scales[start:end])
        return tensors
    # What is away has another folder for its home.
    return tensors_of([(keys[start:end], values[start:end]) for keys, values in batch.own_wherever()])


def tensors_of(layers: LayerTensors) -> dict[str, Tensor]:
    """Return the keys and values of each layer by the names they have in a file."""
    return {
        f"layers.{index}.{name}": _own_copy(states)
        for index, pair in enumerate(layers)
        for name, states in zip(_NAMES, pair, strict=True)
    }


def _own_copy(states: Tensor) -> Tensor:
    return states.to(device="cpu", copy=True).contiguous()


def states_of(tensors: dict[str, Tensor]) -> LayerTensors:
    """Return the keys and values of each layer that a shard holds."""
    num_layers = sum(name.endswith(f".{_NAMES[0]}") for name in tensors)
    return [(_states(tensors, layer, _NAMES[0]), _states(tensors, layer, _NAMES[1])) for layer in range(num_layers)]


def _states(tensors: dict[str, Tensor], layer: int, name: str) -> Tensor:
    states = tensors[f"layers.{layer}.{name}"]
    scales = tensors.get(f"layers.{layer}.{name}{_SCALES}")
    return states if scales is None else EightBits(states, scales).restored()
