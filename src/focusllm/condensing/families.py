"""Looking up what the method needs in a base of any family. Source: ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from torch import nn
from transformers import MODEL_FOR_MULTIMODAL_LM_MAPPING, PreTrainedModel

from focusllm.cache.rotation import KeyMover, TableFrequencies
from focusllm.condensing.family_table import FAMILIES, REFUSED, AttentionFamily
from focusllm.errors import ConfigurationError, StateError, UnsupportedModelError


def check_supported(config: Any) -> AttentionFamily:
    """Return the row of the architecture a transformers configuration names.

    Raises:
        UnsupportedModelError: The architecture is not in the table, or has a setting that cannot be supported.
    """
    model_type = getattr(config, "model_type", type(config).__name__)
    if model_type in REFUSED:
        raise UnsupportedModelError(
            f"The model type {model_type!r} cannot be supported: {REFUSED[model_type]}. `focusllm models` lists "
            f"those that are."
        )
    part = text_part_of(config)
    if part is not None:
        fate = "supported: FocusModel.from_pretrained takes it out." if part in FAMILIES else "not supported either."
        raise UnsupportedModelError(
            f"The model type {model_type!r} reads more than text, which is not supported. Its text part, {part!r}, is "
            + (fate if can_give_text_part(config) else "none that transformers loads as a model that answers in text.")
        )
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
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        raise UnsupportedModelError(
            f"The tokens of this {model_type} see those behind them, too (`use_bidirectional_attention`), so that what "
            f"was read changes with what follows. Models that see what came before only are supported."
        )
    if getattr(config, "alibi", False) and model_type == "falcon":
        raise UnsupportedModelError("This falcon has ALiBi positions; supported are those with rotary ones.")
    return FAMILIES[model_type]


def text_part_of(config: Any) -> str | None:
    """Return the model type of the text part of an architecture that reads more than text; ``None`` for others."""
    part: str = config.get_text_config(decoder=True).model_type
    return None if part == config.model_type else part


def can_give_text_part(config: Any) -> bool:
    """Say whether transformers loads an architecture that reads more than text as one that answers in text."""
    return type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING


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
    return [attrgetter(family.attention)(layer) for layer in layers_of(base, family)]


def key_mover_of(base: PreTrainedModel) -> KeyMover:
    """Return what moves the keys of a base."""
    family, config = family_of(base), base.config
    rotary: Any = None if family.rotary is None else getattr(backbone_of(base), family.rotary)
    if family.rotary_table:
        rotary = TableFrequencies(config.rotary_dim)
    frequencies: list[str | None] = []
    for layer in range(config.num_hidden_layers):
        kind = f"{config.layer_types[layer]}_inv_freq" if getattr(config, "layer_types", None) else ""
        turns = rotary is not None and family.has_positions(config, layer)
        frequencies.append((kind if hasattr(rotary, kind) else "inv_freq") if turns else None)
    return KeyMover(rotary, frequencies, family.pairs_neighbors, family.rotates_values)


def bytes_per_token(base: PreTrainedModel) -> int:
    """Return the bytes of one token's keys and values, all layers together."""
    config, family = base.config.get_text_config(), family_of(base)
    if "qkv" in family.projections:
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        # Falcons of the new architecture keep what heads share once for each of them.
        is_shared = getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False)
        kv_heads = 1 if is_shared else kv_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * kv_heads * head_dim * config.num_hidden_layers * base.dtype.itemsize
    total = 0
    for attention in attention_modules(base, family):
        roles = family.roles_in(attention, ("k", "v"))
        width = sum(family.projection_of(attention, role).out_features for role in roles)
        # What is both key and value is kept as both.
        total += width * (2 if roles == ["k"] else 1) * base.dtype.itemsize
    return total


def check_keeps_states(base: PreTrainedModel) -> None:
    """Check that the base keeps keys and values of what it reads.

    Raises:
        StateError: It is in training mode with gradient checkpointing, under which transformers keeps none.
    """
    if base.training and any(getattr(module, "gradient_checkpointing", False) for module in base.modules()):
        raise StateError(
            "The base is in training mode with gradient checkpointing, under which it keeps no keys and values: call "
            "`model.eval()` to read or decode, and `model.train()` to go on training."
        )


def vocabulary_of(base: PreTrainedModel) -> int:
    """Return how many tokens the base can embed."""
    return base.get_input_embeddings().num_embeddings  # type: ignore[return-value]


def window_of(base: PreTrainedModel) -> int:
    """Return how many positions the base knows.

    Raises:
        ConfigurationError: Its configuration does not say.
    """
    return configured_window(base.config)


def configured_window(config: Any) -> int:
    """Return how many positions a base of this configuration knows.

    A base with LongRoPE has other rotary angles in passes beyond the length it was first trained at, so that keys of
    such a pass do not go together with keys of a shorter one: its window is that length.

    Raises:
        ConfigurationError: Its configuration does not say.
    """
    names = ("max_position_embeddings", "max_seq_len", "seq_length")
    found = next((size for name in names if (size := getattr(config, name, None))), None)
    if found is None:
        raise ConfigurationError(
            f"The configuration of this {config.model_type} does not say how many tokens it was trained to read: "
            f"set `base.config.max_position_embeddings`."
        )
    return min([found, *_first_lengths(getattr(config, "rope_parameters", None) or {})])


def _first_lengths(parameters: Mapping[str, Any]) -> Iterator[int]:
    """Yield the lengths beyond which LongRoPE changes; some architectures have one for each kind of layer."""
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    for one in nested or [parameters]:
        if one.get("rope_type") == "longrope":
            yield one["original_max_position_embeddings"]


@contextmanager
def candidates_in_sight(base: PreTrainedModel, num_candidates: int) -> Iterator[None]:
    """Let local tokens see all candidates in layers that keep what they see to themselves, for the ``with`` block."""
    family = family_of(base)
    if family.sight is None or not num_candidates:
        yield
        return
    sights: list[Any] = [getattr(attention, family.sight) for attention in attention_modules(base, family)]
    fronts = [sight[..., num_candidates:, :num_candidates] for sight in sights]
    before = [front.clone() for front in fronts]
    try:
        for front in fronts:
            front.fill_(True)
        yield
    finally:
        for front, old in zip(fronts, before, strict=True):
            front.copy_(old)


def layer_windows(base: PreTrainedModel) -> list[int | None]:
    """Return, for each layer, how many tokens back it sees where that is limited (a sliding window), or ``None``."""
    config: Any = base.config
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    window = (getattr(config, "sliding_window", None) or None) if getattr(config, "use_sliding_window", True) else None
    return [window if kind == "sliding_attention" else None for kind in kinds]
