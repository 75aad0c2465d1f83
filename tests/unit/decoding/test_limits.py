"""What exceeds the window is refused before anything runs, with the setting that would help."""

import re
from dataclasses import replace

import pytest
import torch

from focusllm import FocusConfig
from focusllm.chunking import cut_into_chunks
from focusllm.decoding.limits import room_for_local
from focusllm.errors import StateError, WindowError
from tiny import SMALL, random_ids, tiny_model


@pytest.mark.parametrize("per_chunk", [1, 3])
def test_too_many_chunks_for_the_window_and_the_advice_works(per_chunk: int) -> None:
    model = tiny_model(config=replace(SMALL, candidates_per_chunk=per_chunk))
    ids = torch.tensor([random_ids(12 * 60)])
    with pytest.raises(WindowError, match="candidates and 11 local tokens") as refused:
        model(ids)
    advised = int(re.search(r"`chunk_length` of at least (\d+)", str(refused.value)).group(1))  # type: ignore[union-attr]
    assert model.configure(chunk_length=advised)(ids).logits.isfinite().all()
    with pytest.raises(WindowError):
        model.configure(chunk_length=advised - 1)(ids)


def test_no_chunk_length_fits_is_said() -> None:
    with pytest.raises(WindowError, match="No chunk length fits"):
        tiny_model()(torch.tensor([random_ids(12 * 600)]))


def test_no_chunk_length_fits_with_what_chunks_share() -> None:
    ids = torch.tensor([random_ids(10 + 53 * 55)])
    with pytest.raises(WindowError, match="`chunk_length` of at least 55,"):
        tiny_model()(ids)
    with pytest.raises(WindowError, match="No chunk length fits"):
        tiny_model().configure(chunk_overlap=5)(ids)


@pytest.mark.parametrize(("overlap", "per_chunk"), [(0, 1), (5, 1), (0, 3)])
def test_a_chunk_longer_than_the_window_and_the_advice_works(overlap: int, per_chunk: int) -> None:
    model = tiny_model(config=replace(SMALL, candidates_per_chunk=per_chunk, chunk_length=60, chunk_overlap=overlap))
    ids = torch.tensor([random_ids(200)])
    with pytest.raises(WindowError, match=f"A chunk of {60 + overlap} tokens") as refused:
        model(ids)
    advised = int(re.search(r"at most (\d+)", str(refused.value)).group(1))  # type: ignore[union-attr]
    assert model.configure(chunk_length=advised)(ids).logits.isfinite().all()
    with pytest.raises(WindowError):
        model.configure(chunk_length=advised + 1)(ids)


def test_room_for_new_tokens_is_asked_for_before_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(type(model._engine), "prefill", lambda *_, **__: pytest.fail("nothing must run"))
    with pytest.raises(WindowError, match="new ones included"):
        model.generate(torch.tensor([random_ids(300)]), max_new_tokens=40)


def test_tokens_that_never_come_behind_chunks_need_no_room_there() -> None:
    ids, policy = torch.tensor([random_ids(200)]), {"chunk_length": 40, "local_refresh": "cached"}
    model = tiny_model().configure(**policy)
    with pytest.raises(WindowError, match="A chunk of 40 tokens with a prompt block of 7 and 20 new tokens needs 67"):
        model.generate(ids, max_new_tokens=20)
    found = model.configure(candidate_refresh=0).generate(ids, max_new_tokens=20)
    wider = tiny_model(max_position_embeddings=128).configure(**policy, candidate_refresh=0)
    assert torch.equal(found, wider.generate(ids, max_new_tokens=20))  # type: ignore[arg-type]


def test_a_local_context_that_is_no_prompt_may_be_longer_than_chunks_leave_room_for() -> None:
    chunks, window = [random_ids(50)], 64
    dynamic = FocusConfig(chunk_length=50, local_length=40, dynamic_prompt_length=40, candidate_refresh=0)
    assert room_for_local(chunks, dynamic, window, new_tokens=5) == 13
    assert room_for_local(chunks, replace(dynamic, static_prompt=(7, 8)), window, new_tokens=5) == 40


def test_a_sequence_that_fits_leaves_room_for_its_new_tokens() -> None:
    """60 tokens fit the window of 64, but not with 10 more behind them: the sequence is split."""
    model = tiny_model()
    ids = torch.tensor([random_ids(60)])
    assert model.prefill(ids).num_chunks == [0]
    assert model.generate(ids, max_new_tokens=10).shape == (1, 70)


def test_steps_past_the_window_are_refused() -> None:
    model = tiny_model()
    state = model.prefill(torch.tensor([random_ids(63)]))
    state = model.step(state, torch.tensor([5]))
    with pytest.raises(WindowError, match="65 positions"):
        model.step(state, torch.tensor([5]))


def test_a_state_is_used_once_and_with_its_own_batch() -> None:
    model = tiny_model()
    state = model.prefill(torch.tensor([random_ids(80)]))
    with pytest.raises(StateError, match="one token id for each sequence"):
        model.step(state, torch.tensor([[5]]))
    with pytest.raises(StateError, match="got list"):
        state.check_tokens([5], 97)
    model.step(state, torch.tensor([5]))
    with pytest.raises(StateError, match="already advanced"):
        model.step(state, torch.tensor([5]))


def test_the_last_chunk_may_be_shorter() -> None:
    assert [len(chunk) for chunk in cut_into_chunks(list(range(25)), SMALL.chunk_length)] == [12, 12, 1]
