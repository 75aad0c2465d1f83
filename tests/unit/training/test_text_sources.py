"""Samples of running text and of records: where the local context comes from, and that nothing is cut off."""

import random

import pytest

from focusllm.errors import TrainingError, WindowError
from focusllm.training.examples import Draws, DrawSettings, ExampleDrawer, Sample
from focusllm.training.text_sources import RecordSource, TextSource
from focusllm.training.token_store import TokenSequences

DOCUMENT = list(range(1000))
DRAWS = Draws(chunk_length=32, num_chunks=6, local_filler=10, early_cut=0.0, late_cut=0.0)


def drawn(source: TextSource | RecordSource) -> list[Sample]:
    return [source.draw(random.Random(seed), DRAWS) for seed in range(50)]


def test_continuation_follows_the_memory() -> None:
    for sample in drawn(TextSource(TokenSequences.of([DOCUMENT]), "continuation")):
        memory = [token for chunk in sample.chunks for token in chunk]
        assert memory + list(sample.local) == list(range(memory[0], memory[0] + len(memory) + len(sample.local)))


def test_what_is_long_past_may_stand_for_more_text_unless_it_is_to_be_brought_back() -> None:
    for sample in drawn(TextSource(TokenSequences.of([DOCUMENT]), "continuation")):
        first = sample.protected.index(True)
        assert len(sample.chunks) // 2 <= first == sum(not is_protected for is_protected in sample.protected)
    assert all(all(sample.protected) for sample in drawn(TextSource(TokenSequences.of([DOCUMENT]), "reconstruction")))


def test_reconstruction_is_a_run_out_of_the_memory() -> None:
    starts = set()
    for sample in drawn(TextSource(TokenSequences.of([DOCUMENT]), "reconstruction")):
        memory = [token for chunk in sample.chunks for token in chunk]
        start = memory.index(sample.local[0])
        assert memory[start : start + len(sample.local)] == list(sample.local)
        starts.add(start)
    assert len(starts) > 20


@pytest.mark.parametrize("loss", ["continuation", "reconstruction"])
@pytest.mark.parametrize("length", [8, 20, 1000])
@pytest.mark.parametrize("most", [1, 5])
def test_supervision_is_bounded_and_inside_the_local_context(loss: str, length: int, most: int) -> None:
    for sample in drawn(TextSource(TokenSequences.of([list(range(length))]), loss, max_supervised=most)):  # type: ignore[arg-type]
        assert sample.cut >= 0
        assert 1 <= len(sample.local) - 1 - sample.cut <= most
        assert len(sample.weights) == len(sample.local)
        assert len(sample.chunks) >= 1


def test_a_record_s_prompt_is_kept_whole_and_its_completion_supervised() -> None:
    prompt, completion = list(range(500)), list(range(600, 640))
    for sample in drawn(RecordSource(TokenSequences.of([prompt, completion]), max_supervised=8)):
        memory = [token for chunk in sample.chunks for token in chunk]
        tail = list(sample.local)[: len(prompt) - len(memory)]
        assert memory + tail == prompt
        supervised = list(sample.local)[sample.cut + 1 :]
        assert 1 <= len(supervised) <= 8
        assert set(supervised) <= set(completion)


def test_the_longer_records_are_the_fewer_share_a_batch() -> None:
    settings = DrawSettings(chunk_lengths=(16,), row_tokens=1000, max_chunks=4)
    counts = {}
    for length in (40, 400):
        source = RecordSource(TokenSequences.of([[5] * length, [6]]))
        drawer = ExampleDrawer({source: 1.0}, [settings], prompt_length=9)
        batches = [drawer.draw(random.Random(seed)) for seed in range(40)]
        assert all(5 not in chunk or len(chunk) <= 16 for batch in batches for one in batch for chunk in one.chunks)
        counts[length] = max(sum(len(one.chunks) for one in batch) for batch in batches)
    # Rows of 25 tokens: about 40 of them were asked for, and a record of 25 chunks more.
    assert counts[40] <= counts[400] <= 40 + 25


def test_records_that_do_not_fit_the_window_are_said() -> None:
    source = RecordSource(TokenSequences.of([[5] * 40, [6], [5] * 640, [6] * 15]))
    stages = [DrawSettings(until=0.5, chunk_lengths=(32, 64)), DrawSettings(chunk_lengths=(16, 64))]
    # 40 candidates; BOS, 48 tokens of the prompt, and the completion.
    source.check_room(stages, 40 + 1 + 48 + 15)
    source.check_room(stages[:1], 20 + 1 + 48 + 15)
    with pytest.raises(
        WindowError, match=r"Record 2 has a prompt of 640 .* 40 candidates .* 64 tokens.* 103.*\(shortest: 16\)"
    ):
        source.check_room(stages, 40 + 1 + 48 + 15 - 1)


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(TrainingError, match="8 tokens"):
        TextSource(TokenSequences.of([[1, 2, 3]]), "continuation")
    with pytest.raises(TrainingError, match="No record"):
        RecordSource(TokenSequences.of([[1, 2, 3, 4], []]))


def test_what_is_too_short_is_counted_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    TextSource(TokenSequences.of([[1, 2, 3], list(range(9))]), "continuation")
    RecordSource(TokenSequences.of([[1, 2, 3, 4], [5], [1], [2], [1, 2, 3, 4], []]))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "1 of 2 sequences are left out",
        "2 of 3 sequences are left out",
    ]


def test_long_documents_are_drawn_more_often_and_short_ones_never() -> None:
    documents = TokenSequences.of([[7] * 3, [8] * 30, [9] * 90])
    source = TextSource(documents, "continuation")
    drawn = [source.draw(random.Random(seed), DRAWS).local[0] for seed in range(400)]
    assert set(drawn) == {8, 9}
    assert 0.65 < drawn.count(9) / 400 < 0.85
