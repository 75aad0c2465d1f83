"""Attention behind chunks is the base's own, without copies of keys and values."""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from focusllm.condensing.attention import attention_by, behind_chunks
from tiny import random_ids, tiny_base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("new_tokens", [1, 2, 9])
def test_it_is_the_base_s_own(dtype: torch.dtype, new_tokens: int) -> None:
    base = tiny_base("llama", dtype=dtype, num_key_value_heads=2)
    assert base.config.num_attention_heads > base.config.num_key_value_heads
    held = torch.tensor([random_ids(40, seed) for seed in range(3)])
    new = torch.tensor([random_ids(new_tokens, seed + 9) for seed in range(3)])
    states = []
    for implementation in (base.config._attn_implementation, behind_chunks(base, is_padded=False)):
        cache = DynamicCache()
        base(input_ids=held, past_key_values=cache)
        with attention_by(base, implementation):
            states.append(base.base_model(input_ids=new, past_key_values=cache).last_hidden_state)
    if new_tokens == 1:  # two queries instead of one may take another kernel
        assert torch.allclose(*states, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    else:
        assert torch.equal(*states)


def test_it_stands_in_for_one_implementation_only_and_the_base_s_own_comes_back() -> None:
    base = tiny_base("llama")
    own = base.config._attn_implementation
    with attention_by(base, "eager"):
        assert behind_chunks(base, is_padded=False) == "eager"
    assert base.config._attn_implementation == own != behind_chunks(base, is_padded=False)
