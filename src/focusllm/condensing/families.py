"""Which architectures can be wrapped, and where their attention keeps its projections: data, one row a family."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from focusllm.errors import UnsupportedModelError

_SEPARATE = MappingProxyType({"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"})


@dataclass(frozen=True)
class AttentionFamily:
    """Where one architecture keeps what the method needs.

    Attributes:
        model_type: The name transformers knows the architecture by.
        projections: Role (q, k, v, o) to the attribute of the attention module that holds it.
        attention: Attribute of a layer that holds its attention module.
        layers: Attribute of the backbone that holds the layers.
        rotary: Attribute of the backbone that holds the rotary embedding.
        note: What a user should know, shown by ``focusllm models``.
    """

    model_type: str
    projections: Mapping[str, str] = field(default_factory=lambda: _SEPARATE)
    attention: str = "self_attn"
    layers: str = "layers"
    rotary: str = "rotary_emb"
    note: str = "separate projections, rotary positions"


FAMILIES: Mapping[str, AttentionFamily] = MappingProxyType(
    {
        family.model_type: family
        for family in (
            AttentionFamily("llama"),
            AttentionFamily("mistral", note="separate projections, rotary positions; window: the sliding one, if set"),
            AttentionFamily("qwen2", note="separate projections with bias, rotary positions"),
            AttentionFamily("qwen3", note="separate projections, normalized queries and keys, rotary positions"),
            AttentionFamily("gemma", note="separate projections, rotary positions, wide heads"),
            AttentionFamily(
                "phi",
                projections=MappingProxyType({**_SEPARATE, "o": "dense"}),
                note="separate projections with bias, partly rotary positions",
            ),
        )
    }
)

# Rotary types whose angles depend on the length of the input: a key could not be moved afterwards.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


def check_supported(config: Any) -> AttentionFamily:
    """Return the row of the architecture a transformers configuration names.

    Raises:
        UnsupportedModelError: The architecture is not in the table, or its rotary positions depend on length.
    """
    model_type = getattr(config, "model_type", type(config).__name__)
    if model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"The model type {model_type!r} is not supported. Supported are {', '.join(sorted(FAMILIES))} "
            f"(see `focusllm models`)."
        )
    rope_type = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope_type in _LENGTH_DEPENDENT_ROPE:
        raise UnsupportedModelError(
            f"This {model_type} uses {rope_type!r} rotary positions, whose angles depend on the input's length. "
            f"Supported are rotary types with fixed angles (default, linear, yarn, llama3)."
        )
    return FAMILIES[model_type]


def family_of(base: PreTrainedModel) -> AttentionFamily:
    """Return the row of a loaded base's architecture; see :func:`check_supported`."""
    return check_supported(base.config)


def backbone_of(base: PreTrainedModel) -> nn.Module:
    """Return the base without its language-model head."""
    return base.base_model  # type: ignore[return-value]


def attention_modules(base: PreTrainedModel, family: AttentionFamily) -> list[nn.Module]:
    """Return the attention module of every layer, in order."""
    return [getattr(layer, family.attention) for layer in getattr(backbone_of(base), family.layers)]


def bytes_per_token(base: PreTrainedModel) -> int:
    """Return the bytes of one token's keys and values, all layers together."""
    family = family_of(base)
    total = 0
    for attention in attention_modules(base, family):
        for role in ("k", "v"):
            layer: Any = getattr(attention, family.projections[role])
            total += layer.out_features * base.dtype.itemsize
    return total


def window_of(base: PreTrainedModel) -> int:
    """Return how many tokens the base can attend to at once.

    Where layers use a sliding window, that is the limit: a candidate farther away would be hidden.
    """
    config: Any = base.config
    sliding = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return min(length for length in (config.max_position_embeddings, sliding) if length is not None)
