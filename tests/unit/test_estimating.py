"""Estimates: sizes are exact, what cannot fit is refused, and cheaper settings are said to be cheaper."""

import pytest
import torch

from focusllm import FocusModel
from focusllm.cache.layers import cache_tensors
from focusllm.cache.tiers import Budgets
from focusllm.errors import InputError, WindowError
from tiny import SMALL, random_ids, tiny_base, tiny_model, tiny_tokenizer


@pytest.mark.parametrize(("num_tokens", "max_parallel_chunks"), [(250, None), (250, 1), (55, None)])
def test_bytes_are_those_of_the_document(num_tokens: int, max_parallel_chunks: int | None) -> None:
    model = FocusModel(tiny_base("qwen2"), SMALL, max_parallel_chunks=max_parallel_chunks).eval()
    document = model.index(random_ids(num_tokens))
    assert document.cache is not None
    own = [
        states[:, :, : batch.num_own]
        for batch in document.cache.batches
        for pair in cache_tensors(batch.cache)
        for states in pair
    ]
    found = model.estimate(num_tokens, question_tokens=8, max_new_tokens=4)
    assert found.document_bytes == sum(states.numel() * states.element_size() for states in own)
    assert (found.num_tokens, found.num_chunks) == (num_tokens, document.num_chunks)
    assert sum(found.tier_bytes.values()) == found.document_bytes
    assert Budgets(device=10, cpu=5).shared_out(18) == {"device": 10, "cpu": 5, "folder": 3}
    assert min(found.index_seconds, found.first_token_seconds, found.next_token_seconds) > 0


@pytest.mark.parametrize("num_tokens", [10, 51, 52])
def test_as_many_chunks_are_foretold_as_an_answer_is_made_from(num_tokens: int) -> None:
    base = tiny_base(dtype=torch.float32, vocab_size=259)
    model = FocusModel(base, SMALL, tiny_tokenizer()).configure(question_template="{question}").eval()
    answer = model.ask(random_ids(num_tokens), "12345678", max_new_tokens=4)
    found = model.estimate(num_tokens, question_tokens=8, max_new_tokens=4)
    assert found.num_chunks == answer.num_chunks == (0 if num_tokens < 52 else 5)
    assert (found.document_bytes == 0) == (found.index_seconds == 0) == (num_tokens < 52)
    assert min(found.first_token_seconds, found.next_token_seconds) > 0


def test_bytes_count_the_bos_of_every_chunk() -> None:
    model = tiny_model().configure(chunk_bos=True)
    document = model.index(random_ids(250))
    assert model.estimate(250, question_tokens=8).document_bytes == sum(document.bytes_of_tiers().values())


@pytest.mark.parametrize("candidate_refresh", [0, 3, 1000])
def test_every_policy_can_be_estimated(candidate_refresh: int) -> None:
    model = tiny_model().configure(candidate_refresh=candidate_refresh, local_refresh="cached")
    assert model.estimate(100, question_tokens=8, max_new_tokens=4).next_token_seconds > 0


@pytest.mark.parametrize("name", ["num_tokens", "question_tokens", "max_new_tokens"])
@pytest.mark.parametrize("count", [0, -1])
def test_nothing_costs_nothing_and_is_refused(name: str, count: int) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be a whole number, at least one token; got {count}"):
        tiny_model().estimate(**{"num_tokens": 100, name: count})


def test_what_cannot_fit_is_refused_with_the_setting_that_would() -> None:
    with pytest.raises(WindowError, match="`chunk_length` of at least"):
        tiny_model().estimate(700, question_tokens=8, max_new_tokens=4)
