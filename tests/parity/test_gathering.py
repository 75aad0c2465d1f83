"""Chunks of many small documents go through the base together, and the results are those of each batch by itself."""

from collections.abc import Sequence
from itertools import chain
from operator import is_
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from focusllm import FocusModel
from focusllm.cache import gathering
from focusllm.chunking import SplitSequence
from tiny import ALL_FAMILY_NAMES, SMALL, disturb, random_ids, tiny_base, tiny_model, tiny_tokenizer

# None is like another, and some are many times as long as others; all that have a neighbor in length are padded.
LENGTHS = (12, 3, 7, 5, 11, 4, 9, 2)


def logits(model: FocusModel, sequences: Sequence[SplitSequence], steps: int = 3) -> list[Tensor]:
    state = model._engine.prefill(sequences)
    found = [state.logits]
    for step in range(steps):
        state = model.step(state, torch.tensor([5 + step] * len(sequences)))
        found.append(state.logits)
    return found


def sequences_of(lengths: Sequence[int] = LENGTHS) -> list[SplitSequence]:
    return [SplitSequence(tuple(random_ids(length, length) for length in lengths), random_ids(8, 90))]


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_FEW_BATCHES", 1000)


@pytest.mark.parametrize("family", ALL_FAMILY_NAMES)
def test_padded_rows_equal_rows_by_themselves(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(family)
    together = logits(model, sequences_of())
    alone(monkeypatch)
    for found, wanted in zip(together, logits(model, sequences_of()), strict=True):
        assert (found - wanted).abs().max() <= 2e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate_refresh": 2, "focus_share": 0.7, "local_refresh": "cached"},
        {"chunk_kv": "int8"},
        {"chunk_bos": True, "candidate_refresh": 3},
        {"candidates_per_chunk": 2},
    ],
    ids=str,
)
def test_whatever_the_settings(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(config=SMALL.changed(changes), num_key_value_heads=2)
    longer = SplitSequence(sequences_of()[0].chunks, random_ids(10, 91))
    sequences = [*sequences_of(), longer, *sequences_of(LENGTHS[::-1])]
    together = logits(model, sequences)
    alone(monkeypatch)
    for found, wanted in zip(together, logits(model, sequences), strict=True):
        assert (found - wanted).abs().max() <= 2e-6


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"do_sample": True, "seed": 3}], ids=str)
def test_beams_and_several_questions_over_gathered_documents(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = FocusModel(tiny_base(vocab_size=259, max_position_embeddings=128), SMALL, tiny_tokenizer()).eval()
    disturb(model)
    documents: list[Any] = [model.index(random_ids(length, length)) for length in (*LENGTHS, 90)]
    model.index(random_ids(6, 6), tmp_path / "folder")
    # Neither what is asked together nor where it lies makes a difference.
    documents.append(model.load_document(tmp_path / "folder", device_budget=0))
    asked = {"max_new_tokens": 5, "min_new_tokens": 5, "stop_strings": (), **settings}
    together = [answer.token_ids for answer in model.ask(documents, ["What?", "And who was it?"], **asked)]
    alone(monkeypatch)
    assert together == [answer.token_ids for answer in model.ask(documents, ["What?", "And who was it?"], **asked)]


def test_small_batches_become_few_and_stay_as_they_were() -> None:
    model = tiny_model()
    [sequence] = sequences_of((*LENGTHS, 1))
    chunks = model._engine.index([sequence.chunks], [7])
    before = [[states.clone() for layer in batch.own_tensors() for states in layer] for batch in chunks.batches]
    state = model.step(model._engine.ask([sequence], chunks), torch.tensor([5]))
    # 1 and 2; 3, 4 and 5; 7, 9, 11 and 12 tokens.
    assert [sorted(number for _, number in batch.places) for batch in state.chunks.batches] == [
        [7, 8],
        [1, 3, 5],
        [0, 2, 4, 6],
    ]
    assert [batch.num_own for batch in state.chunks.batches] == [2, 5, 12]
    after = [[states for layer in batch.own_tensors() for states in layer] for batch in chunks.batches]
    assert all(map(torch.equal, chain(*before), chain(*after)))
    assert {batch.length for batch in chunks.batches} == {len(chunk) for chunk in sequence.chunks}


@pytest.mark.parametrize(("parallel", "expected"), [(1, 8), (2, 4), (None, 3)])
def test_no_more_share_a_batch_than_may(parallel: int | None, expected: int) -> None:
    model = FocusModel(tiny_base(), SMALL, max_parallel_chunks=parallel).eval()
    assert len(model._engine.prefill(sequences_of()).chunks.batches) == expected


def test_large_batches_and_few_ones_are_left_alone() -> None:
    model = tiny_model()
    sequence = SplitSequence((*[random_ids(12, n) for n in range(20)], *sequences_of()[0].chunks), random_ids(8, 90))
    chunks = model._engine.index([sequence.chunks], [7])
    [large] = [batch for batch in chunks.batches if len(batch.rows) > 8]
    assert any(batch is large for batch in model._engine.ask([sequence], chunks).chunks.batches)
    [few] = sequences_of(LENGTHS[:4])
    chunks = model._engine.index([few.chunks], [7])
    assert all(map(is_, model._engine.ask([few], chunks).chunks.batches, chunks.batches))
