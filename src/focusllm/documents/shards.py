"""What a shard of a document's folder holds: keys and values, layer by layer. Source: ours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from focusllm.cache.chunks import ChunkBatch
from focusllm.cache.eight_bits import EightBitHome, EightBits

_NAMES = ("keys", "values")
# What the name of scales ends with, where a shard holds eight bits.
_SCALES = "_scales"


def shard_tensors(batch: ChunkBatch, start: int, end: int) -> dict[str, Tensor]:
    """Return what a shard holds of some rows: keys and values as they are, or their codes and scales."""
    tensors: dict[str, Tensor] = {}
    if isinstance(batch.home, EightBitHome):
        for index, pair in enumerate(batch.home.layers):
            for name, states in zip(_NAMES, pair, strict=True):
                tensors[f"layers.{index}.{name}"] = _own_copy(states.codes[start:end])
                tensors[f"layers.{index}.{name}{_SCALES}"] = _own_copy(states.scales[start:end])
        return tensors
    # What is away has another folder for its home.
    own = batch.own_tensors() if batch.away is None else batch.away.load()
    for index, pair in enumerate(own):
        for name, states in zip(_NAMES, pair, strict=True):
            tensors[f"layers.{index}.{name}"] = _own_copy(states[start:end])
    return tensors


def _own_copy(states: Tensor) -> Tensor:
    return states.to(device="cpu", copy=True).contiguous()


def joined(parts: Sequence[dict[str, Tensor]], name: str) -> Tensor:
    """Return the keys or values of a layer, from all shards of a batch."""
    found = [_states_of(part, name) for part in parts]
    return found[0] if len(found) == 1 else torch.cat(found)


def _states_of(part: dict[str, Tensor], name: str) -> Tensor:
    scales = part.get(name + _SCALES)
    return part[name] if scales is None else EightBits(part[name], scales).restored()
