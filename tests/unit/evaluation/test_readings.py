"""Chunks that were read for one sample are not read again for another, and what is not needed makes room."""

import pytest
import torch

from focusllm.chunking import SplitSequence
from focusllm.evaluation import readings
from focusllm.evaluation.readings import Reading
from tiny import SMALL, random_ids, tiny_model

LOCAL = random_ids(8, 90)


def sequence_of(*seeds: int) -> SplitSequence:
    return SplitSequence(tuple(random_ids(12, seed) for seed in seeds), LOCAL)


class Counting:
    """Counts the chunks that an engine reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = tiny_model()._engine
        self.read: list[int] = []
        index = self.engine.index

        def counted(documents, *others):  # type: ignore[no-untyped-def]
            self.read.append(len(documents[0]))
            return index(documents, *others)

        monkeypatch.setattr(self.engine, "index", counted)


def test_only_new_chunks_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, reading = Counting(monkeypatch), Reading()
    for seeds in ((1, 2, 1, 3), (1, 2, 1, 3), (3, 4, 3), (2, 4)):
        reading.of(counting.engine, sequence_of(*seeds))
    assert counting.read == [3, 1]


def test_what_is_not_needed_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "_HELD_BYTES", 0)
    counting, reading = Counting(monkeypatch), Reading()
    for seeds in ((1, 2), (2, 3), (4,), (1, 2, 3)):
        reading.of(counting.engine, sequence_of(*seeds))
    assert counting.read == [2, 1, 1, 3]


@pytest.mark.parametrize("held_bytes", [0, readings._HELD_BYTES])
def test_processes_find_the_same_to_be_unread(monkeypatch: pytest.MonkeyPatch, held_bytes: int) -> None:
    """Each holds its own chunks only; what one of them has read is no other's to read."""
    monkeypatch.setattr(readings, "_HELD_BYTES", held_bytes)
    sequences = [sequence_of(*seeds) for seeds in ((1, 2, 3), (1, 4, 5), (5, 1, 6, 2), (2, 1, 2, 7, 8))]
    found: list[list[list[tuple[int, int]]]] = []
    for rank in range(2):
        engine, reading = tiny_model()._engine, Reading()
        monkeypatch.setattr(engine.ranks, "owns", lambda chunk, rank=rank: chunk % 2 == rank)
        caches = (reading.of(engine, sequence) for sequence in sequences)
        found.append([[place for batch in cache.batches for place in batch.places] for cache in caches])
    for sequence, first, second in zip(sequences, *found, strict=True):
        assert sorted(first + second) == [(0, number) for number in range(sequence.num_chunks)]


@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
def test_what_is_not_needed_is_let_go_of_row_by_row(monkeypatch: pytest.MonkeyPatch, chunk_kv: str) -> None:
    """One chunk that stays must not keep all that were read with it, nor in another precision."""
    monkeypatch.setattr(readings, "_HELD_BYTES", 0)
    engine, reading = tiny_model(config=SMALL.changed({"chunk_kv": chunk_kv}))._engine, Reading()
    sizes = []
    for seeds in ((1, 2, 3, 4), (4,), (4, 5)):
        reading.of(engine, sequence_of(*seeds))
        sizes.append(sum(held.batch.num_bytes_kept() for held in reading._held))
    assert sizes == [4 * sizes[1], sizes[1], 2 * sizes[1]]


def test_chunks_are_read_again_where_they_would_be_read_otherwise() -> None:
    model, reading = tiny_model(), Reading()
    engine, sequence = model._engine, sequence_of(1, 2)
    for changes in ({}, {"chunk_bos": True}, {"chunk_kv": "int8"}):
        engine.config = SMALL.changed(changes)
        wanted = engine.ask([sequence], engine.index([sequence.chunks], [8])).logits
        assert torch.equal(engine.ask([sequence], reading.of(engine, sequence)).logits, wanted)


def test_questions_do_not_meet_what_others_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model, reading = tiny_model(), Reading()
    engine = model._engine
    first, second = sequence_of(1, 2, 3), sequence_of(3, 1)
    wanted = [engine.ask([one], engine.index([one.chunks], [8])).logits for one in (first, second, first)]
    for sequence, logits in zip((first, second, first), wanted, strict=True):
        state = engine.ask([sequence], reading.of(engine, sequence))
        assert (state.logits - logits).abs().max() <= 2e-6
        engine.step(state, torch.tensor([5]))
