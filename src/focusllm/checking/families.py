"""Whether an architecture can be wrapped: found out on a tiny random model of it.

What the table of families says, or would have to say, is tried: reading and decoding against two models of
transformers', training against decoding. Source: ours.
"""

import itertools
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from focusllm.checking.two_models import TwoModels
from focusllm.chunking import SplitSequence
from focusllm.condensing.families import backbone_of, can_give_text_part, layer_windows, text_part_of
from focusllm.condensing.family_table import FAMILIES, REFUSED, AttentionFamily, trying
from focusllm.config import FocusConfig
from focusllm.decoding.engine import FocusEngine
from focusllm.model import FocusModel
from focusllm.training.objective import FocusObjective
from focusllm.training.packing import TrainingExample, pack

# Differences that rounding explains: transformers computes rotary angles in single precision.
READING_TOLERANCE, TRAINING_TOLERANCE = 4e-6, 1e-5
_BOS = 1
_SETTINGS = FocusConfig(chunk_length=12, local_length=10, dynamic_prompt_length=6)
_TRAINED = replace(_SETTINGS, local_refresh="cached", local_length=14, dynamic_prompt_length=8)
# A window that a few dozen tokens exceed, and a sliding one that is shorter than a chunk.
_WINDOW, _SEEN = 40, 4
# What makes a model small, by the names configurations have for it.
_SMALL = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "num_experts": 4, "num_local_experts": 4,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "n_shared_experts": 1, "shared_expert_intermediate_size": 24, "q_lora_rank": 12,
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12, "ffn_dim": 48, "d_model": 32,
    "n_inner": 48, "rotary_dim": 4, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 97,
    "global_head_dim": 16, "num_global_key_value_heads": 1, "top_k_experts": 2, "window_size": 64,
    "attention_types": [[["global", "local", "global"], 1]], "pad_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
# Letters of what an architecture's own code says of a failure, at most.
_LONGEST_REASON = 240
# More, and a configuration has sizes of names that are not known here.
_MOST_WEIGHTS = 5_000_000
# Names of projections that go together, as families have them.
_PROJECTIONS: tuple[dict[str, str], ...] = (
    {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"},
    {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"},
    {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "dense"},
    {"qkv": "query_key_value", "o": "dense"},
    {"qkv": "qkv_proj", "o": "o_proj"},
    {"qkv": "c_attn", "o": "c_proj"},
    {"q": "q_b_proj/q_proj", "kv": "kv_a_proj_with_mqa", "o": "o_proj"},
)


@dataclass(frozen=True)
class FamilyCheck:
    """What was found out.

    Attributes:
        model_type: The architecture.
        grade: ``exact``, ``inference only`` or ``refused``.
        reason: Why not more; empty for ``exact``.
        family: The row of the table that was tried last; ``None`` where nothing could be.
    """

    model_type: str
    grade: str
    reason: str
    family: AttentionFamily | None


def check_config(config: PreTrainedConfig) -> FamilyCheck:
    """Grade an architecture by trying it on a tiny random model with its configuration's peculiarities."""
    model_type: str = config.model_type
    if model_type in REFUSED:
        return FamilyCheck(model_type, "refused", REFUSED[model_type], None)
    if text_part_of(config) is not None:
        if not can_give_text_part(config):
            return FamilyCheck(model_type, "refused", "transformers loads it as no model that answers in text", None)
        part = check_config(config.get_text_config(decoder=True))
        reason = f"of what it reads, text: its text part is of type {part.model_type}"
        return replace(part, model_type=model_type, reason="; ".join(filter(None, (reason, part.reason))))
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return FamilyCheck(model_type, "refused", "transformers has no causal language model of this type", None)
    try:
        base = tiny_base_of(config)
    except Exception as error:
        return FamilyCheck(model_type, "refused", f"a tiny model of it cannot be made ({_sentence(error)})", None)
    best = FamilyCheck(
        model_type, "refused", "its layers have no attention projections, or no positions, of names known here", None
    )
    for family in [FAMILIES[model_type]] if model_type in FAMILIES else _guesses(model_type, base):
        with trying(family):
            found = _graded(family, base)
        if found.grade == "exact":
            return found
        if best.grade == "refused":
            best = found
    return best


def tiny_base_of(config: PreTrainedConfig) -> nn.Module:
    """Build a tiny random model in double precision with all of a configuration that does not make it large.

    Raises:
        ValueError: The architecture cannot be made with such sizes; what else its own code raises.
    """
    small = type(config)(**_small_values(config))
    with torch.device("meta"):
        num_weights = sum(parameter.numel() for parameter in _made(small).parameters())
    if num_weights > _MOST_WEIGHTS:
        raise ValueError(f"{num_weights:,} weights remain with all sizes of known names made small")
    torch.manual_seed(7)
    base = _made(small)
    with torch.no_grad():
        for parameter in base.parameters():
            # Wide enough for attention to matter.
            parameter.mul_(4) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.1)
    return base


def _small_values(config: PreTrainedConfig) -> dict[str, Any]:
    """Return a configuration's values, without what makes a model large and what there is one of for each layer."""
    values = config.to_dict()
    kept = {name: value for name, value in _SMALL.items() if _has(config, values, name)} | {"bos_token_id": _BOS}
    if kept.get("num_key_value_heads") and config.num_key_value_heads == config.num_attention_heads:
        kept["num_key_value_heads"] = kept["num_attention_heads"]
    if values.get("sliding_window"):
        kept["sliding_window"] = 64
    one_a_layer = [name for name, value in values.items() if _length(value) == config.num_hidden_layers]
    dropped = ("layer_types", "per_layer_config", "rope_parameters", "rope_scaling", *one_a_layer)
    return {name: value for name, value in values.items() if name not in dropped} | kept


def _has(config: PreTrainedConfig, values: dict[str, Any], name: str) -> bool:
    if name in values:
        return values[name] is not None
    made = getattr(type(config), name, None)
    is_fixed = isinstance(made, property) and made.fset is None
    return not is_fixed and getattr(config, name, None) is not None


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def largest_difference_to_two_models(model: FocusModel, num_steps: int) -> float:
    """Compare prefill and steps with two models, in terms of the largest score where that is above 1."""
    ids, following = _ids(45, seed=0), _ids(num_steps, seed=1)
    config = model.config
    boundary, length = len(ids) - config.local_length, config.chunk_length
    chunks = [ids[start : min(start + length, boundary)] for start in range(0, boundary, length)]
    model._engine.window = _WINDOW
    two = TwoModels(model, _BOS)
    state = model.prefill(torch.tensor([ids]))
    largest = 0.0
    for step in range(num_steps + 1):
        if step:
            state = model.step(state, torch.tensor([following[step - 1]]))
        wanted = two.logits(chunks, ids[boundary:], following[:step])
        difference = (state.logits[0] - wanted).abs().max() / wanted.abs().max().clamp(min=1)
        if not difference.isfinite():
            # Nothing is larger than what is not a number, nor smaller.
            return float("inf")
        largest = max(largest, difference.item())
    return largest


def largest_difference_of_training(model: FocusModel, examples: Sequence[TrainingExample]) -> float:
    """Compare the packed training pass with decoding, in terms of the largest loss."""
    batch = pack(list(examples), model.config, _BOS)
    result = FocusObjective(model.base, model.adapter)(batch)
    wanted = torch.cat([decoded_losses(model, one) for one in examples])
    return float((result.token_losses - wanted).abs().max() / wanted.max())


def decoded_losses(model: FocusModel, one: TrainingExample) -> Tensor:
    """Return the cross-entropy of each supervised token: prefill up to the cut, and one step a token after it."""
    engine = FocusEngine(model.base, model.adapter, model.config, _BOS)
    local = list(one.local)
    state = engine.prefill([SplitSequence(tuple(one.chunks), local[: one.cut + 1])])
    losses = []
    for target in local[one.cut + 1 :]:
        losses.append(nn.functional.cross_entropy(state.logits, torch.tensor([target])))
        state = engine.step(state, torch.tensor([target]))
    return torch.stack(losses)


def _graded(family: AttentionFamily, base: nn.Module) -> FamilyCheck:
    try:
        difference = largest_difference_to_two_models(_wrapped(base, _SETTINGS), num_steps=2)
        if difference <= READING_TOLERANCE and any(layer_windows(base)):  # type: ignore[arg-type]
            difference = largest_difference_to_two_models(_wrapped(_with_short_windows(base), _SETTINGS), num_steps=2)
    # What the code of an architecture raises when it is called as none of its own is of no one kind.
    except Exception as error:
        return FamilyCheck(family.model_type, "refused", _sentence(error), family)
    if difference > READING_TOLERANCE:
        reason = f"decoding differs from two models of transformers' by {difference:.1e} of the largest score"
        return FamilyCheck(family.model_type, "refused", reason, family)
    try:
        model = _wrapped(base, _TRAINED)
        trained = largest_difference_of_training(model, [_example(3, 14, 9, 1), _example(5, 11, 6, 2)])
        reason = "" if trained <= TRAINING_TOLERANCE else f"training differs from decoding by {trained:.1e} of the loss"
    except Exception as error:
        reason = f"the packed training pass fails ({_sentence(error)})"
    return FamilyCheck(family.model_type, "inference only" if reason else "exact", reason, family)


def _wrapped(base: nn.Module, config: FocusConfig) -> FocusModel:
    """Wrap a copy of a base and move its candidate projections away from where they start."""
    model = FocusModel(deepcopy(base), config).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.adapter.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.1)
    return model


def _with_short_windows(base: nn.Module) -> nn.Module:
    config = deepcopy(base.config)
    config.sliding_window = _SEEN  # type: ignore[union-attr]
    made = _made(config)  # type: ignore[arg-type]
    made.load_state_dict(base.state_dict())
    return made


def _made(config: PreTrainedConfig) -> nn.Module:
    # The grouped matrix products of experts know no double precision.
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64, experts_implementation="eager").eval()


def _guesses(model_type: str, base: Any) -> Iterator[AttentionFamily]:
    """Yield rows that an architecture could have, by the names of its modules."""
    backbone = backbone_of(base)
    for name, layers in backbone.named_modules():
        if not isinstance(layers, nn.ModuleList) or len(layers) != base.config.num_hidden_layers:
            continue
        for attention, module in layers[0].named_modules():
            projections = next((roles for roles in _PROJECTIONS if _has_all(module, roles)), None)
            if projections is None:
                continue
            rotary = next((one for one in ("rotary_emb", "rotary_embedding") if hasattr(backbone, one)), None)
            if rotary is None and not _has_other_positions(backbone, base.config):
                return
            row = AttentionFamily(
                model_type, projections=projections, attention=attention, layers=name, rotary=rotary,
                rotates_values="kv" in projections,
            )  # fmt: skip
            for pairs, uses in itertools.product((False, True), (True, False)):
                yield replace(row, pairs_neighbors=pairs, uses_interface=uses, forwards_options=uses)
            return


def _has_other_positions(backbone: nn.Module, config: Any) -> bool:
    """Say whether positions are embedded, or biases of attention; what has neither turns its keys out of our sight."""
    names = [name.lower() for name, module in backbone.named_modules() if isinstance(module, nn.Embedding)]
    return bool(getattr(config, "alibi", False)) or any("wpe" in name or "position" in name for name in names)


def _has_all(module: nn.Module, roles: dict[str, str]) -> bool:
    row = AttentionFamily("", projections=roles)
    found = (getattr(module, row.attribute_of(module, role), None) for role in roles)
    return all(isinstance(one, nn.Linear | Conv1D) for one in found)


def _example(num_chunks: int, local: int, cut: int, seed: int) -> TrainingExample:
    return TrainingExample(
        chunks=[_ids(12, seed * 50 + number) for number in range(num_chunks)],
        local=_ids(local, seed * 50 + 40),
        cut=cut,
        weights=[1.0] * local,
        copies=[1.0] * num_chunks,
        slots=list(range(num_chunks)),
        num_slots=num_chunks,
    )


def _ids(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, _SMALL["vocab_size"], (length,), generator=generator).tolist()


def _sentence(error: Exception) -> str:
    return shorten(str(error), _LONGEST_REASON, placeholder=" …") or type(error).__name__
