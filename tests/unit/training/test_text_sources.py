"""Samples of running text and of records: where the local context comes from, and that nothing is cut off."""

import json
import random
from pathlib import Path

import pytest

from focusllm.errors import ConfigurationError, InputError, TrainingError
from focusllm.training.examples import Draws, Sample
from focusllm.training.text_sources import RecordSource, TextSource, read_records, read_texts
from tiny import tiny_tokenizer

DOCUMENT = list(range(1000))
DRAWS = Draws(chunk_length=32, num_chunks=6, local_filler=10, early_cut=0.0, late_cut=0.0)


def drawn(source: TextSource | RecordSource) -> list[Sample]:
    return [source.draw(random.Random(seed), DRAWS) for seed in range(50)]


def test_continuation_follows_the_memory() -> None:
    for sample in drawn(TextSource([DOCUMENT], "continuation")):
        memory = [token for chunk in sample.chunks for token in chunk]
        assert memory + list(sample.local) == list(range(memory[0], memory[0] + len(memory) + len(sample.local)))


def test_reconstruction_is_a_run_out_of_the_memory() -> None:
    starts = set()
    for sample in drawn(TextSource([DOCUMENT], "reconstruction")):
        memory = [token for chunk in sample.chunks for token in chunk]
        start = memory.index(sample.local[0])
        assert memory[start : start + len(sample.local)] == list(sample.local)
        starts.add(start)
    assert len(starts) > 20


@pytest.mark.parametrize("loss", ["continuation", "reconstruction"])
@pytest.mark.parametrize("length", [8, 20, 1000])
def test_supervision_is_bounded_and_inside_the_local_context(loss: str, length: int) -> None:
    for sample in drawn(TextSource([list(range(length))], loss, max_supervised=5)):  # type: ignore[arg-type]
        assert sample.cut >= 0
        assert 1 <= len(sample.local) - 1 - sample.cut <= 5
        assert len(sample.weights) == len(sample.local)
        assert len(sample.chunks) >= 1


def test_a_record_s_prompt_is_kept_whole_and_its_completion_supervised() -> None:
    prompt, completion = list(range(500)), list(range(600, 640))
    for sample in drawn(RecordSource([(prompt, completion)], max_supervised=8)):
        memory = [token for chunk in sample.chunks for token in chunk]
        tail = list(sample.local)[: len(prompt) - len(memory)]
        assert memory + tail == prompt
        supervised = list(sample.local)[sample.cut + 1 :]
        assert 1 <= len(supervised) <= 8
        assert set(supervised) <= set(completion)


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="8 tokens"):
        TextSource([[1, 2, 3]], "continuation")
    with pytest.raises(TrainingError, match="No record"):
        RecordSource([([1, 2, 3, 4], [])])
    with pytest.raises(InputError, match="No file matches"):
        list(read_texts(["*.txt"], tmp_path))


def test_files_are_read_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.jsonl").write_text('{"text": "second"}\n\n{"text": "third"}\n')
    assert list(read_texts(["*.txt", "*.jsonl"], tmp_path)) == ["first", "second", "third"]
    (tmp_path / "c.jsonl").write_text('{"prompt": "p", "completion": "c"}\n{"prompt": "p"}\n')
    with pytest.raises(InputError, match=r"line 2, has no text in \['completion'\]"):
        list(read_records(["c.jsonl"], tmp_path, tiny_tokenizer()))
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_texts(["d.txt"], tmp_path))


def test_conversations_are_worded_by_the_chat_template_and_divided_before_the_answer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    messages = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(ConfigurationError, match="no chat template"):
        list(read_records(["a.jsonl"], tmp_path, tokenizer))
    tokenizer.chat_template = (
        "{% for message in messages %}[{{ message.role }}]{{ message.content }}|{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    [(prompt, completion)] = read_records(["a.jsonl"], tmp_path, tokenizer)
    assert tokenizer.decode(prompt) == "[user]who?|[assistant]"
    assert tokenizer.decode(completion) == "me|"
    (tmp_path / "b.jsonl").write_text('{"messages": "x"}\n')
    with pytest.raises(InputError, match=r"or a list in \['messages'\]"):
        list(read_records(["b.jsonl"], tmp_path, tokenizer))


def test_what_is_too_short_is_counted_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    TextSource([[1, 2, 3], list(range(9))], "continuation")
    RecordSource([([1, 2, 3, 4], [5]), ([1], [2]), ([1, 2, 3, 4], [])])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "1 of 2 sequences are left out",
        "2 of 3 sequences are left out",
    ]
