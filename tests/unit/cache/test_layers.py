"""The growing layer holds what transformers' own dynamic layer holds, without copying it."""

import torch
from transformers.cache_utils import DynamicCache

from focusllm.cache.layers import cache_tensors, growing_cache, overwrite_prefix


def states(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, tokens, 4), torch.randn(2, 3, tokens, 4)


def test_growing_cropping_and_growing_again_equals_a_dynamic_cache() -> None:
    ours, theirs = growing_cache(), DynamicCache()
    for added, removed in ((20, 1), (2, 1), (1, 0), (50, 3), (1, 1), (2, 0)):
        keys, values = states(added)
        for cache in (ours, theirs):
            cache.update(keys, values, 0)
            cache.crop(-removed)
        for our, their in zip(cache_tensors(ours)[0], (theirs.layers[0].keys, theirs.layers[0].values), strict=True):
            assert torch.equal(our, their)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_few_tokens_more_are_written_in_place() -> None:
    cache = growing_cache()
    cache.update(*states(100), 0)
    before = cache_tensors(cache)[0][0].data_ptr()
    for _ in range(10):
        cache.update(*states(2), 0)
        cache.crop(-1)
    assert cache_tensors(cache)[0][0].data_ptr() == before


def test_overwriting_the_front_leaves_the_rest() -> None:
    cache = growing_cache()
    cache.update(*states(10), 0)
    rest = cache_tensors(cache)[0][0][..., 4:, :].clone()
    front = states(4)
    overwrite_prefix(cache, [front])
    keys, values = cache_tensors(cache)[0]
    assert torch.equal(keys[..., :4, :], front[0])
    assert torch.equal(values[..., :4, :], front[1])
    assert torch.equal(keys[..., 4:, :], rest)
