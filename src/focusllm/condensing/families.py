"""Which architectures can be wrapped, and where their attention keeps its projections: data, one row a family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from focusllm.cache.rotation import KeyMover
from focusllm.errors import ConfigurationError, UnsupportedModelError

_SEPARATE = MappingProxyType({"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"})
_WITH_OUT_PROJ = MappingProxyType({**_SEPARATE, "o": "out_proj"})
# One projection makes queries, keys and values.
_FUSED = "qkv"
_QUERY_KEY_VALUE = MappingProxyType({_FUSED: "query_key_value", "o": "dense"})


def _all_layers(config: Any, layer: int) -> bool:
    return True


def _where_rope_is_set(config: Any, layer: int) -> bool:
    return bool(config.no_rope_layers[layer])


def _sliding_layers(config: Any, layer: int) -> bool:
    return config.sliding_window is None or config.layer_types[layer] == "sliding_attention"


@dataclass(frozen=True)
class AttentionFamily:
    """Where one architecture keeps what the method needs.

    Attributes:
        model_type: The name transformers knows the architecture by.
        projections: Role (q, k, v, o; qkv where one projection makes all three) to the attribute of the attention
            module that holds it.
        attention: Attribute of a layer that holds its attention module.
        layers: Attribute of the backbone, dots and all, that holds the layers.
        rotary: Attribute of the backbone that holds the rotary embedding; ``None`` where positions are absolute, so
            that keys need not, and cannot, be moved.
        has_positions: Whether a layer, by its number, turns its keys to their positions.
        pairs_neighbors: Whether rotary positions pair a dimension with the next one, not with the one half-way on.
        forwards_options: Whether what the base is called with reaches its attention; the packed training pass and the
            recording of attention need that.
        note: What a user should know, shown by ``focusllm models``.
    """

    model_type: str
    projections: Mapping[str, str] = field(default_factory=lambda: _SEPARATE)
    attention: str = "self_attn"
    layers: str = "layers"
    rotary: str | None = "rotary_emb"
    has_positions: Callable[[Any, int], bool] = _all_layers
    pairs_neighbors: bool = False
    forwards_options: bool = True
    note: str = ""

    @property
    def is_trainable(self) -> bool:
        """Whether adapters can be trained."""
        return self.forwards_options

    @property
    def is_fused(self) -> bool:
        """Whether one projection makes queries, keys and values."""
        return _FUSED in self.projections

    def roles_of(self, wanted: Sequence[str]) -> list[str]:
        """Return the roles that the wanted ones (q, k, v, o) are here.

        Raises:
            ConfigurationError: Some of q, k and v are wanted where one projection makes all three.
        """
        if not self.is_fused:
            return list(wanted)
        inner = [role for role in wanted if role in _FUSED]
        if 0 < len(inner) < len(_FUSED):
            raise ConfigurationError(
                f"A {self.model_type} makes queries, keys and values by one projection: `candidate_projections` must "
                f"have all of 'q', 'k' and 'v', or none; got {tuple(wanted)}."
            )
        return [*([_FUSED] if inner else []), *(role for role in wanted if role not in _FUSED)]


_GPT2 = AttentionFamily(
    "gpt2",
    projections=MappingProxyType({_FUSED: "c_attn", "o": "c_proj"}),
    attention="attn",
    layers="h",
    rotary=None,
    note="absolute positions",
)
_SLIDING = "sliding windows, in which candidates stay visible"
_ROWS = (
    AttentionFamily("apertus", note="normalized queries and keys"),
    AttentionFamily("arcee"),
    AttentionFamily("biogpt", projections=_WITH_OUT_PROJ, rotary=None, note="absolute positions"),
    AttentionFamily("bitnet"),
    AttentionFamily("cohere", pairs_neighbors=True),
    AttentionFamily("cohere2", pairs_neighbors=True, has_positions=_sliding_layers, note=_SLIDING),
    AttentionFamily("cwm", note=_SLIDING),
    AttentionFamily("dots1", note="mixture of experts"),
    AttentionFamily("ernie4_5", pairs_neighbors=True),
    AttentionFamily("ernie4_5_moe", pairs_neighbors=True, note="mixture of experts"),
    AttentionFamily("exaone4", has_positions=_sliding_layers, note=_SLIDING),
    AttentionFamily("exaone_moe", has_positions=_sliding_layers, note=f"mixture of experts; {_SLIDING}"),
    AttentionFamily("flex_olmo", note="mixture of experts"),
    AttentionFamily("gemma", note="wide heads"),
    AttentionFamily("gemma2", note=f"soft-capped scores; {_SLIDING}"),
    AttentionFamily("gemma3_text", note=f"positions by kind of layer; {_SLIDING}"),
    AttentionFamily("gemma4_text", note=f"positions by kind of layer; {_SLIDING}"),
    AttentionFamily("glm", pairs_neighbors=True, note="partly rotary positions"),
    AttentionFamily("glm4", pairs_neighbors=True, note="partly rotary positions"),
    AttentionFamily("glm4_moe", note="partly rotary positions; mixture of experts"),
    AttentionFamily("gpt_oss", note=f"attention sinks; mixture of experts; {_SLIDING}"),
    _GPT2,
    replace(_GPT2, model_type="gpt_bigcode", note="absolute positions; one head of keys and values (StarCoder)"),
    AttentionFamily(
        "gpt_neox",
        projections=_QUERY_KEY_VALUE,
        attention="attention",
        note="partly rotary positions (Pythia)",
    ),
    AttentionFamily("granite"),
    AttentionFamily("granitemoe", note="mixture of experts"),
    AttentionFamily("granitemoeshared", note="mixture of experts"),
    AttentionFamily("helium", pairs_neighbors=True),
    AttentionFamily("hyperclovax"),
    AttentionFamily("internlm3"),
    AttentionFamily("jais2"),
    AttentionFamily("llama"),
    AttentionFamily("minimax_m2", note="partly rotary positions; mixture of experts"),
    AttentionFamily("ministral", note=_SLIDING),
    AttentionFamily("mistral", note=_SLIDING),
    AttentionFamily("mixtral", note=f"mixture of experts; {_SLIDING}"),
    AttentionFamily("nemotron", forwards_options=False, note="partly rotary positions"),
    AttentionFamily("olmo"),
    AttentionFamily("olmo2", note="normalized queries and keys"),
    AttentionFamily("olmo3", note=f"normalized queries and keys; {_SLIDING}"),
    AttentionFamily("olmoe", note="mixture of experts"),
    AttentionFamily(
        "opt",
        projections=_WITH_OUT_PROJ,
        layers="decoder.layers",
        rotary=None,
        note="absolute positions",
    ),
    AttentionFamily(
        "persimmon",
        projections=_QUERY_KEY_VALUE,
        note="partly rotary positions; normalized queries and keys",
    ),
    AttentionFamily("phi", projections=MappingProxyType({**_SEPARATE, "o": "dense"}), note="partly rotary positions"),
    AttentionFamily("phi3", projections=MappingProxyType({_FUSED: "qkv_proj", "o": "o_proj"}), note=_SLIDING),
    AttentionFamily("phimoe", note=f"mixture of experts; {_SLIDING}"),
    AttentionFamily("qwen2", note="projections with bias"),
    AttentionFamily("qwen2_moe", note="mixture of experts"),
    AttentionFamily("qwen3", note="normalized queries and keys"),
    AttentionFamily("qwen3_moe", note="normalized queries and keys; mixture of experts"),
    AttentionFamily("seed_oss"),
    AttentionFamily("smollm3", has_positions=_where_rope_is_set, note="some layers without positions"),
    AttentionFamily("solar_open", note="mixture of experts"),
    AttentionFamily("stablelm", forwards_options=False, note="partly rotary positions"),
    AttentionFamily("starcoder2", note=_SLIDING),
    AttentionFamily("vaultgemma", note=f"soft-capped scores; {_SLIDING}"),
)
FAMILIES: Mapping[str, AttentionFamily] = MappingProxyType({family.model_type: family for family in _ROWS})

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
    if getattr(config, "num_kv_shared_layers", None):
        raise UnsupportedModelError(
            f"The last {config.num_kv_shared_layers} layers of this {model_type} share the keys and values of others, "
            f"which candidates of their own would part. Models without shared layers are supported."
        )
    for rope_type in _rope_types(getattr(config, "rope_parameters", None) or {}):
        if rope_type in _LENGTH_DEPENDENT_ROPE:
            raise UnsupportedModelError(
                f"This {model_type} uses {rope_type!r} rotary positions, whose angles depend on the input's length. "
                f"Supported are rotary types with fixed angles (default, linear, yarn, llama3)."
            )
    return FAMILIES[model_type]


def _rope_types(parameters: Mapping[str, Any]) -> list[str]:
    """Return the rotary types in force; some architectures have one for each kind of layer."""
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    return [str(one.get("rope_type", "default")) for one in nested or [parameters]]


def family_of(base: PreTrainedModel) -> AttentionFamily:
    """Return the row of a loaded base's architecture; see :func:`check_supported`."""
    return check_supported(base.config)


def backbone_of(base: PreTrainedModel) -> nn.Module:
    """Return the base without its language-model head."""
    return base.base_model  # type: ignore[return-value]


def layers_of(base: PreTrainedModel, family: AttentionFamily) -> nn.ModuleList:
    """Return the layers, in order."""
    return attrgetter(family.layers)(backbone_of(base))


def attention_modules(base: PreTrainedModel, family: AttentionFamily) -> list[nn.Module]:
    """Return the attention module of every layer, in order."""
    return [getattr(layer, family.attention) for layer in layers_of(base, family)]


def key_mover_of(base: PreTrainedModel) -> KeyMover:
    """Return what moves the keys of a base."""
    family, config = family_of(base), base.config
    rotary = None if family.rotary is None else getattr(backbone_of(base), family.rotary)
    frequencies: list[str | None] = []
    for layer in range(config.num_hidden_layers):
        kind = f"{config.layer_types[layer]}_inv_freq" if getattr(config, "layer_types", None) else ""
        turns = rotary is not None and family.has_positions(config, layer)
        frequencies.append((kind if hasattr(rotary, kind) else "inv_freq") if turns else None)
    return KeyMover(rotary, frequencies, family.pairs_neighbors)


def bytes_per_token(base: PreTrainedModel) -> int:
    """Return the bytes of one token's keys and values, all layers together."""
    config, family = base.config.get_text_config(), family_of(base)
    if family.is_fused:
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        kv_heads = 1 if getattr(config, "multi_query", False) else kv_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * kv_heads * head_dim * config.num_hidden_layers * base.dtype.itemsize
    total = 0
    for attention in attention_modules(base, family):
        for role in ("k", "v"):
            layer: Any = getattr(attention, family.projections[role])
            total += layer.out_features * base.dtype.itemsize
    return total


def window_of(base: PreTrainedModel) -> int:
    """Return how many positions the base knows."""
    return base.config.max_position_embeddings


def layer_windows(base: PreTrainedModel) -> list[int | None]:
    """Return, for each layer, how many tokens back it sees where that is limited (a sliding window), or ``None``."""
    config: Any = base.config
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    window = (getattr(config, "sliding_window", None) or None) if getattr(config, "use_sliding_window", True) else None
    return [window if kind == "sliding_attention" else None for kind in kinds]
