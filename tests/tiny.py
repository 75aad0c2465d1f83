"""Tiny random base models of every family, built from configurations in code."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from focusllm import FocusConfig, FocusModel
from focusllm.reference import FocusReference

VOCAB = 97
BOS = 1
_SHARED = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": BOS,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
# What makes each family itself: wide heads, norms on queries and keys, biases, partial rotary positions.
_OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 4},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma": {"head_dim": 16, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "phi": {"num_key_value_heads": 4, "resid_pdrop": 0.1},
}
# The families whose equations `reference.py` has; the others are held to a pair of transformers' models.
FAMILY_NAMES = tuple(_OWN)
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_local_experts": 4}
_NARROW = {"head_dim": 8}
_SLIDING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 64}
_MLA = {
    "num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 12, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
_OWN |= {
    "apertus": {},
    "arcee": {},
    "biogpt": {},
    "bitnet": {},
    "bloom": {},
    "codegen": {"num_attention_heads": 4, "n_inner": 48, "rotary_dim": 4, "attn_pdrop": 0.1},
    "cohere": {"use_qk_norm": True},
    "cohere2": {**_SLIDING, **_NARROW},
    "cwm": {**_SLIDING, **_NARROW},
    "deepseek_v2": {**_MLA, "q_lora_rank": None, "topk_method": "greedy"},
    "deepseek_v3": _MLA,
    "dots1": {
        **_NARROW, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1,
        "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
    },
    "ernie4_5": _NARROW,
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24, "moe_num_shared_experts": 1},
    "exaone4": _SLIDING,
    "exaone_moe": {
        **_SLIDING, **_EXPERTS, "n_group": 1, "topk_group": 1, "num_shared_experts": 1,
        "is_moe_layer": [False, True, True],
    },
    "falcon": {"ffn_hidden_size": 48, "alibi": False},
    "flex_olmo": _EXPERTS,
    "gemma2": {**_SLIDING, "head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0},
    "gemma3_text": {**_SLIDING, "head_dim": 16, "query_pre_attn_scalar": 16},
    "gemma4_text": {**_SLIDING, "head_dim": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB},
    "glm": _NARROW,
    "glm4": _NARROW,
    "glm4_moe": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "glm4_moe_lite": _MLA,
    "gpt_oss": {**_SLIDING, **_NARROW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_bigcode": {"n_inner": 48},
    "gpt2": {"n_inner": 48},
    "gpt_neox": {"rotary_pct": 0.5},
    "gpt_neo": {
        "num_layers": 3, "num_heads": 4, "attention_types": [[["global", "local"], 1], [["local"], 1]],
        "window_size": 64,
    },
    "gptj": {"n_inner": 48, "rotary_dim": 4},
    "granite": {"attention_multiplier": 0.3, "residual_multiplier": 0.8},
    "granitemoe": _EXPERTS,
    "granitemoeshared": {**_EXPERTS, "shared_intermediate_size": 24},
    "helium": _NARROW,
    "hyperclovax": {},
    "internlm3": _NARROW,
    "jais2": {},
    "minimax_m2": {**_EXPERTS, **_NARROW},
    "ministral": {**_SLIDING, **_NARROW},
    "mixtral": _EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 64, "expansion_ratio": 2},
    "nemotron": _NARROW,
    "olmo": {"clip_qkv": 5.0},
    "olmo2": {},
    "olmo3": _SLIDING,
    "olmoe": _EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "persimmon": {"num_key_value_heads": 4},
    "phi3": {},
    "phimoe": {"num_local_experts": 4},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {**_EXPERTS, **_NARROW},
    "seed_oss": _NARROW,
    "smollm3": {"no_rope_layers": [1, 0, 1]},
    "solar_open": {**_NARROW, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    "stablelm": {"partial_rotary_factor": 0.5},
    "starcoder2": {},
    "vaultgemma": {**_SLIDING, "head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0},
}  # fmt: skip
ALL_FAMILY_NAMES = tuple(_OWN)
SMALL = FocusConfig(chunk_length=12, local_length=10, dynamic_prompt_length=6)


def tiny_base(family: str = "llama", dtype: torch.dtype = torch.float64, **changes: Any) -> nn.Module:
    """Build a random base; weights are wide enough for attention to matter."""
    torch.manual_seed(7)
    config = CONFIG_MAPPING[family](**{**_SHARED, **_OWN[family], **changes})
    # The grouped matrix products of experts know no double precision.
    base = AutoModelForCausalLM.from_config(config, dtype=dtype, experts_implementation="eager").eval()
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return base


def tiny_model(
    family: str = "llama",
    config: FocusConfig = SMALL,
    dtype: torch.dtype = torch.float64,
    group: ProcessGroup | None = None,
    **changes: Any,
) -> FocusModel:
    """Wrap a random base and move its candidate projections away from where they start."""
    model = FocusModel(tiny_base(family, dtype, **changes), config, process_group=group).eval()
    disturb(model)
    return model


def disturb(model: FocusModel, scale: float = 0.1) -> None:
    """Add noise to every candidate projection."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.adapter.parameters().values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise.to(parameter.dtype) * scale)


def published_names(model: FocusModel) -> dict[str, Tensor]:
    """Return the model's candidate projections under the names of the authors' checkpoint."""
    state = {"model.beacon_embed_tokens.weight": torch.zeros(1, 32)}
    for name, value in model.adapter.parameters().items():
        _, layer, role, parameter = name.split(".")
        kind = parameter.removeprefix("candidate_")
        state[f"model.layers.{layer}.self_attn.beacon_{role}_proj.{kind}"] = value.detach().clone()
    return state


def random_ids(length: int, seed: int = 0) -> list[int]:
    """Draw token ids without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (length,), generator=generator).tolist()


def reference_of(model: FocusModel, bos: int | None = BOS) -> FocusReference:
    """Build the reference with the model's weights; the model's base is detached for good."""
    weights: dict[tuple[int, str], tuple[Tensor, Tensor | None]] = {}
    for name, projection in model.adapter.projections.items():
        _, layer, role = name.split(".")
        if projection.rank is None:
            weight, bias = projection.candidate_weight, projection.candidate_bias
        else:
            weight = projection.base_layer.weight + projection.candidate_up @ projection.candidate_down
            bias = projection.base_layer.bias
        weights[int(layer), role] = (weight.detach(), bias)
    return FocusReference(model.detach(), weights, model.config, bos)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer of bytes: every text has ids, and 259 of them are enough."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=10**9
    )


def save_tiny_base(folder: Path, dtype: torch.dtype = torch.float32, family: str = "llama") -> Path:
    """Write a random base with its tokenizer, as a user's folder would be."""
    tiny_base(family, dtype, vocab_size=259, max_position_embeddings=512).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
