"""Cutting sequences: nothing lost, nothing twice, nothing out of place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusllm import FocusConfig
from focusllm.chunking import (
    block,
    cut_for,
    cut_into_chunks,
    join_documents,
    prompt_block,
    split_sequence,
)
from focusllm.documents.document import FocusDocument, Identity
from focusllm.errors import InputError


def document_of(token_ids: list[int], chunk_length: int = 10, overlap: int = 0) -> FocusDocument:
    return FocusDocument("a", token_ids, chunk_length, overlap, Identity("", "", "", None))


tokens = st.lists(st.integers(0, 9), min_size=1, max_size=200)


@given(ids=tokens, window=st.integers(1, 64), chunk=st.integers(1, 50), local=st.integers(1, 80))
def test_a_split_sequence_is_the_sequence(ids: list[int], window: int, chunk: int, local: int) -> None:
    split = split_sequence(ids, window, chunk, local)
    assert [token for part in split.chunks for token in part] + list(split.local) == ids
    assert split.num_tokens == len(ids)
    if len(ids) <= window:
        assert split.num_chunks == 0
        return
    assert all(len(part) == chunk for part in split.chunks[:-1])
    assert 1 <= len(split.chunks[-1]) <= chunk
    assert len(split.local) == min(local, len(ids) - 1)


@given(
    num_tokens=st.integers(1, 5000), length=st.integers(1, 40), longest=st.integers(1, 400), per_chunk=st.integers(1, 3)
)
def test_chunks_are_doubled_until_their_candidates_fit(
    num_tokens: int, length: int, longest: int, per_chunk: int
) -> None:
    config = FocusConfig(chunk_length=length, longest_chunk=longest, local_length=10, candidates_per_chunk=per_chunk)

    def fits(tokens: int) -> bool:
        return -(-num_tokens // tokens) * per_chunk + 10 <= 64 - 8

    found, overlap = cut_for(num_tokens, config, window=64)
    allowed = [length, *(length * 2**power for power in range(1, 10) if length * 2**power <= longest)]
    assert found == next(filter(fits, allowed), allowed[-1])
    assert overlap == 0
    assert cut_for(num_tokens, FocusConfig(chunk_length=length), window=64) == (length, 0)


@given(documents=st.lists(tokens, min_size=1, max_size=4), local=tokens, chunk=st.integers(1, 50))
def test_documents_follow_one_another_in_their_own_chunks(
    documents: list[list[int]], local: list[int], chunk: int
) -> None:
    cut = [document_of(document, chunk) for document in documents]
    split = join_documents(cut, local, window=0)
    assert list(split.chunks) == [part for one in cut for part in one.chunks]
    assert split.local == local


def test_what_fits_the_window_stays_whole() -> None:
    assert join_documents([document_of([1, 2]), document_of([3])], [4], window=4).local == [1, 2, 3, 4]
    assert split_sequence([1, 2, 3], window=3, chunk_length=1, local_length=1).chunks == ()


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        split_sequence([], 10, 5, 5)
    with pytest.raises(InputError, match="ask a question"):
        join_documents([document_of([1])], [], 10)


def test_bos_is_put_where_there_is_none() -> None:
    assert block([5, 6], 1) == [1, 5, 6]
    assert block([1, 6], 1) == [1, 6]
    assert block([5, 6], None) == [5, 6]


def test_what_follows_every_chunk() -> None:
    assert prompt_block([3, 4, 5], FocusConfig(dynamic_prompt_length=2), 1) == [1, 4, 5]
    assert prompt_block([3, 4, 5], FocusConfig(dynamic_prompt_length=9), None) == [3, 4, 5]
    assert prompt_block([3, 4, 5], FocusConfig(static_prompt=(7, 8, 9, 2), candidate_refresh=0), 1) == [1, 7, 8, 9, 2]


@given(ids=tokens, chunk=st.integers(2, 50), overlap=st.integers(0, 49), local=st.integers(1, 80))
def test_overlapping_chunks_hold_every_run_that_is_not_longer(
    ids: list[int], chunk: int, overlap: int, local: int
) -> None:
    overlap = min(overlap, chunk - 1)
    numbered = list(range(len(ids)))
    split = split_sequence(numbered, 0, chunk, local, overlap)
    assert split.num_tokens == len(ids)
    end = len(ids) - len(split.local)
    assert split.num_chunks == len(cut_into_chunks(numbered[:end], chunk))
    for start in range(max(end - overlap, 0)):
        run = set(range(start, start + overlap + 1))
        assert any(run <= set(part) for part in split.chunks)
