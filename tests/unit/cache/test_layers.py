"""The growing layer holds what transformers' own dynamic layer holds, without copying it."""

import torch
from transformers.cache_utils import DynamicCache

from focusllm.cache.layers import cache_tensors, empty_cache, growing_cache, overwrite_prefix, rows_of


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


def test_filled_row_by_row_it_is_as_if_filled_at_once_and_grows_on_in_place() -> None:
    at_once, by_rows = growing_cache(), empty_cache(1, slack=4)
    keys, values = torch.randn(5, 3, 7, 4), torch.randn(5, 3, 7, 4)
    at_once.update(keys, values, 0)
    for first in (0, 2, 4):
        part = rows_of(by_rows, slice(first, first + 2), 5)
        seen = part.update(keys[first : first + 2], values[first : first + 2], 0)
        assert torch.equal(seen[0], keys[first : first + 2])
        assert part.get_seq_length() == 7
    storage = cache_tensors(by_rows)[0][0].data_ptr()
    added = torch.randn(5, 3, 3, 4)
    for cache in (at_once, by_rows):
        cache.update(added, added, 0)
    assert torch.equal(cache_tensors(by_rows)[0][0], cache_tensors(at_once)[0][0])
    assert torch.equal(cache_tensors(by_rows)[0][1], cache_tensors(at_once)[0][1])
    assert cache_tensors(by_rows)[0][0].data_ptr() == storage


def test_tokens_appended_row_by_row_stand_where_they_would_at_once_even_where_room_runs_out() -> None:
    at_once, by_rows = growing_cache(), growing_cache(slack=2)
    first, more = torch.randn(5, 3, 7, 4), torch.randn(5, 3, 4, 4)
    for cache in (at_once, by_rows):
        cache.update(first, first, 0)
    at_once.update(more, more, 0)
    for start in (0, 2, 4):
        rows = slice(start, min(start + 2, 5))
        part = rows_of(by_rows, rows, 5, held=7)
        assert part.get_seq_length() == 7
        assert torch.equal(part.update(more[rows], more[rows], 0)[0], cache_tensors(at_once)[0][0][rows])
    assert torch.equal(cache_tensors(by_rows)[0][1], cache_tensors(at_once)[0][1])
