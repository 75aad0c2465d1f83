"""Chunks that were read for one sample are not read again for another, and what is not needed makes room."""

import pytest
import torch

from focusllm.chunking import SplitSequence
from focusllm.evaluation import readings
from focusllm.evaluation.readings import Reading
from tiny import random_ids, tiny_model

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


def test_questions_do_not_meet_what_others_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model, reading = tiny_model(), Reading()
    engine = model._engine
    first, second = sequence_of(1, 2, 3), sequence_of(3, 1)
    wanted = [engine.ask([one], engine.index([one.chunks], [8])).logits for one in (first, second, first)]
    for sequence, logits in zip((first, second, first), wanted, strict=True):
        state = engine.ask([sequence], reading.of(engine, sequence))
        assert (state.logits - logits).abs().max() <= 2e-6
        engine.step(state, torch.tensor([5]))
