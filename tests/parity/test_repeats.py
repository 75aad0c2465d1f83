"""A row that stands for several equal chunks gives what a row for each of them gives."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from focusllm import FocusModel
from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.evaluation.readings import Reading
from tiny import ALL_FAMILY_NAMES, SMALL, disturb, random_ids, tiny_base, tiny_model

A, B, C = random_ids(12, 1), random_ids(12, 2), random_ids(7, 3)
LOCAL = random_ids(8, 90)
REPETITIVE = SplitSequence((A, B, A, C, A, B, C, A), LOCAL)


def logits(model: FocusModel, sequence: SplitSequence, chunks: ChunkCache | None = None) -> list[Tensor]:
    engine = model._engine
    state = engine.prefill([sequence]) if chunks is None else engine.ask([sequence], chunks)
    found = [state.logits]
    for step in range(4):
        state = model.step(state, torch.tensor([5 + step]))
        found.append(state.logits)
    return found


def check_equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    for found, wanted in zip(some, others, strict=True):
        assert (found - wanted).abs().max() <= 2e-6


@pytest.mark.parametrize("family", ALL_FAMILY_NAMES)
def test_equal_chunks_are_read_and_condensed_once(family: str) -> None:
    model = tiny_model(family)
    chunks = Reading().of(model._engine, REPETITIVE)
    assert sum(len(batch.rows) for batch in chunks.batches) == 3
    assert chunks.num_chunks == 8
    check_equal(logits(model, REPETITIVE, chunks), logits(model, REPETITIVE))


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate_refresh": 3, "focus_share": 0.5, "local_refresh": "cached"},
        {"candidate_refresh": 1000, "focus_share": 0.3, "local_refresh": "cached"},
        {"candidate_refresh": 2},
        {"candidate_refresh": 0, "local_refresh": "cached"},
        {"chunk_kv": "int8"},
        {"chunk_bos": True, "chunk_overlap": 2},
    ],
    ids=str,
)
def test_whatever_the_settings(changes: dict[str, Any]) -> None:
    model = tiny_model(config=SMALL.changed(changes), num_key_value_heads=2)
    reading = Reading()
    for sequence in (REPETITIVE, SplitSequence((B, A, B, random_ids(12, 4)), LOCAL), REPETITIVE):
        check_equal(logits(model, sequence, reading.of(model._engine, sequence)), logits(model, sequence))


def test_rows_that_stand_for_several_are_gathered_with_others() -> None:
    model = tiny_model()
    sequence = SplitSequence(tuple(random_ids(1 + n % 9, n % 9) for n in range(30)), LOCAL)
    chunks = Reading().of(model._engine, sequence)
    state = model._engine.ask([sequence], chunks)
    assert len(state.chunks.batches) < len(chunks.batches)
    assert sum(len(batch.rows) for batch in state.chunks.batches) == 9
    check_equal(logits(model, sequence, chunks), logits(model, sequence))


def test_beams_follow_their_parents() -> None:
    base = tiny_base(vocab_size=259)
    model = FocusModel(base, SMALL).eval()
    disturb(model)
    from focusllm.decoding.generate import FocusGenerator, decode
    from focusllm.decoding.settings import generation_config_for

    engine = model._engine
    config = generation_config_for(base, None, {"num_beams": 3, "max_new_tokens": 5, "min_new_tokens": 5}, 0)
    found = [
        decode(FocusGenerator(engine, [REPETITIVE], chunks), [LOCAL], config).sequences.tolist()
        for chunks in (Reading().of(engine, REPETITIVE), None)
    ]
    assert found[0] == found[1]
