"""Loading base models, and their special tokens."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from focusllm.condensing.families import check_supported
from focusllm.errors import InputError


def load_base(name: str, dtype: torch.dtype | str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Load a base and, where it has one, its tokenizer.

    Raises:
        InputError: There is no model by that name, or it cannot be read.
        UnsupportedModelError: Its architecture is not supported; nothing large has been loaded then.
    """
    try:
        check_supported(AutoConfig.from_pretrained(name))
        base = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError) as error:
        raise InputError(f"The base model {name!r} cannot be loaded: {error}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError):
        tokenizer = None
    return base, tokenizer


def bos_token_id_of(base: Any, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the tokenizer's BOS; without a tokenizer, the one the base's configuration names."""
    token: Any = base.config.bos_token_id if tokenizer is None else tokenizer.bos_token_id
    return token


def pad_token_id_of(base: Any, tokenizer: PreTrainedTokenizerBase | None) -> int:
    """Return the token that pads outputs."""
    candidates = [None if tokenizer is None else tokenizer.pad_token_id, base.config.pad_token_id]
    return next((token for token in candidates if token is not None), 0)
