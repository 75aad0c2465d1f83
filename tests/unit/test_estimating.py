"""Estimates: sizes are exact, what cannot fit is refused, and cheaper settings are said to be cheaper."""

import pytest

from focusllm.cache.layers import cache_tensors
from focusllm.cache.tiers import Budgets
from focusllm.errors import WindowError
from tiny import random_ids, tiny_model


def test_bytes_are_those_of_the_document() -> None:
    model = tiny_model("qwen2")
    document = model.index(random_ids(250))
    assert document.cache is not None
    own = [
        states[:, :, : batch.num_own]
        for batch in document.cache.batches
        for pair in cache_tensors(batch.cache)
        for states in pair
    ]
    found = model.estimate(250, question_tokens=8, max_new_tokens=4)
    assert found.document_bytes == sum(states.numel() * states.element_size() for states in own)
    assert (found.num_tokens, found.num_chunks) == (250, 21)
    assert sum(found.tier_bytes.values()) == found.document_bytes
    assert Budgets(device=10, cpu=5).shared_out(18) == {"device": 10, "cpu": 5, "folder": 3}
    assert min(found.index_seconds, found.first_token_seconds, found.next_token_seconds) > 0


@pytest.mark.parametrize("candidate_refresh", [0, 3])
def test_every_policy_can_be_estimated(candidate_refresh: int) -> None:
    model = tiny_model().configure(candidate_refresh=candidate_refresh, local_refresh="cached")
    assert model.estimate(100, question_tokens=8, max_new_tokens=4).next_token_seconds > 0


def test_what_cannot_fit_is_refused_with_the_setting_that_would() -> None:
    with pytest.raises(WindowError, match="`chunk_length` of at least"):
        tiny_model().estimate(700, question_tokens=8, max_new_tokens=4)
