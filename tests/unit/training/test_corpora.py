"""Texts and records: read from files as what they are, from data sets, from the installation; tokens made once."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from focusllm.bundled.text import installation_texts
from focusllm.errors import ConfigurationError, InputError
from focusllm.training.corpora import INSTALLATION, Corpus
from tiny import tiny_tokenizer

RECORDS = [{"prompt": f"What is {n} + {n}?", "completion": f" {2 * n}"} for n in range(5)]


def corpus(folder: Path, *files: str) -> Corpus:
    return Corpus(files, folder)


def write_parquet(path: Path, rows: list[dict]) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def pairs(found: Corpus) -> list[tuple[str, str]]:
    tokenizer = tiny_tokenizer()
    tokens = found.record_tokens(tokenizer)
    texts = [str(tokenizer.decode(tokens[number])) for number in range(len(tokens))]
    return list(zip(texts[::2], texts[1::2], strict=True))


def test_files_are_read_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.jsonl").write_text('{"text": "second"}\n\n{"text": "third"}\n')
    write_parquet(tmp_path / "c.parquet", [{"text": "fourth", "id": 1}, {"text": "fifth", "id": 2}])
    found = corpus(tmp_path, "*.txt", "*.jsonl", "*.parquet")
    assert list(found.texts()) == ["first", "second", "third", "fourth", "fifth"]
    assert list(replace(found, limit=3).texts()) == ["first", "second", "third"]
    assert next(corpus(tmp_path, INSTALLATION).texts()) == next(iter(installation_texts("train")))


def test_endings_of_names_may_be_written_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_text('{"text": "first"}\n')
    write_parquet(tmp_path / "B.PARQUET", [{"text": "second"}])
    assert list(corpus(tmp_path, "A.JSONL", "B.PARQUET").texts()) == ["first", "second"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_json_are_read_one_after_the_other(tmp_path: Path, encoding: str) -> None:
    with (tmp_path / "a.jsonl").open("w", encoding=encoding) as file:
        file.writelines(
            json.dumps({"text": f"{number} " + "é" * 1000}, ensure_ascii=False) + "\n" for number in range(5000)
        )
    found = replace(corpus(tmp_path, "a.jsonl"), limit=4)
    tracemalloc.start()
    try:
        assert [text[:2] for text in found.texts()] == ["0 ", "1 ", "2 ", "3 "]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_records_are_the_same_from_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    write_parquet(tmp_path / "a.parquet", RECORDS)
    expected = [(record["prompt"], record["completion"]) for record in RECORDS]
    assert pairs(corpus(tmp_path, "a.jsonl")) == expected
    assert pairs(corpus(tmp_path, "a.parquet")) == expected


def test_a_data_set_s_folder_is_streamed_by_split(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    write_parquet(folder / "train-00000.parquet", [{"text": "one"}, {"text": "two"}, {"text": "three"}])
    write_parquet(folder / "test-00000.parquet", [{"text": "other"}])
    assert list(Corpus((), tmp_path, dataset="set").texts()) == ["one", "two", "three"]
    assert list(Corpus((), tmp_path, dataset="set", limit=2).texts()) == ["one", "two"]
    assert list(Corpus((), tmp_path, dataset="set", split="test").texts()) == ["other"]
    with pytest.raises(InputError, match=r"The data set 'set' \(dev\) cannot be read"):
        list(Corpus((), tmp_path, dataset="set", split="dev").texts())


def test_a_data_set_s_tokens_are_those_of_its_split_also_after_files_were_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    write_parquet(folder / "a-train.parquet", [{"text": "one"}])
    write_parquet(folder / "b-test.parquet", [{"text": "another"}])
    found = Corpus((), tmp_path, dataset="set")
    assert found.text_tokens(tiny_tokenizer()).lengths == [3]
    (folder / "a-train.parquet").rename(folder / "a-test.parquet")
    (folder / "b-test.parquet").rename(folder / "b-train.parquet")
    assert found.text_tokens(tiny_tokenizer()).lengths == [7]


def test_a_data_set_on_the_hub_may_be_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(*place: object, revision: object, **_: object) -> list[dict[str, str]]:
        asked.append((*place, revision))
        return [{"text": str(revision)}]

    monkeypatch.setattr("datasets.load_dataset", load)
    assert list(Corpus((), tmp_path, dataset="owner/set@v2", subset="en").texts()) == ["v2"]
    assert list(Corpus((), tmp_path, dataset="owner/set", subset="en").texts()) == ["main"]
    assert asked == [("owner/set", "en", "v2"), ("owner/set", "en", "main")]


def test_a_data_set_with_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(InputError, match=r"The data set 'set' \(train\) cannot be read"):
        list(Corpus((), tmp_path, dataset="set").texts())


def test_no_texts_have_no_tokens(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "b.parquet")
    assert corpus(tmp_path, "a.jsonl").text_tokens(tiny_tokenizer()).lengths == [0]
    assert corpus(tmp_path, "b.parquet").text_tokens(tiny_tokenizer()).lengths == []


def test_tokens_are_those_of_the_texts_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOCUSLLM_CACHE", str(tmp_path / "cache"))
    tokenizer = tiny_tokenizer()
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x" * n}) + "\n" for n in range(1, 200)))
    found = corpus(tmp_path, "a.jsonl")
    expected = [tokenizer(text, add_special_tokens=False).input_ids for text in found.texts()]
    tokens = found.text_tokens(tokenizer)
    assert [tokens[number] for number in range(len(tokens))] == expected
    assert tokens.lengths == list(map(len, expected))
    [kept] = (tmp_path / "cache").rglob("*.safetensors")
    assert kept.stat().st_mode & 0o077 == 0
    written = kept.stat().st_mtime_ns
    again = found.text_tokens(tokenizer)
    assert (kept.stat().st_mtime_ns, again[150]) == (written, expected[150])
    # What the tokens depend on decides, not the file's name.
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "y"}) + "\n")
    assert found.text_tokens(tokenizer).lengths == [1]
    assert len(replace(found, limit=1).text_tokens(tokenizer)) == 1
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3


def test_tokens_that_cannot_be_kept_are_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("words")
    monkeypatch.setenv("FOCUSLLM_CACHE", str(tmp_path / "a.txt"))
    assert corpus(tmp_path, "a.txt").text_tokens(tiny_tokenizer()).lengths == [5]
    assert "Tokens cannot be kept" in caplog.text


@pytest.mark.parametrize("place", [20, -20])
def test_damaged_tokens_are_made_again(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOCUSLLM_CACHE", str(tmp_path / "cache"))
    tokenizer = tiny_tokenizer()
    (tmp_path / "a.txt").write_text("some words " * 20)
    expected = corpus(tmp_path, "a.txt").text_tokens(tokenizer)[0]
    [kept] = (tmp_path / "cache").rglob("*.safetensors")
    data = bytearray(kept.read_bytes())
    data[place] ^= 1
    kept.write_bytes(data)
    assert corpus(tmp_path, "a.txt").text_tokens(tokenizer)[0] == expected
    assert kept.read_bytes() != data


def test_what_cannot_be_read_is_said_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "completion": "c"}\n{"prompt": "p"}\n')
    (tmp_path / "b.jsonl").write_text('{"messages": "x"}\n')
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n{"text": \n')
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 not really")
    write_parquet(tmp_path / "f.parquet", [{"text": "x"}, {"text": None}])
    (tmp_path / "g.jsonl").write_text("\n \n")
    (tmp_path / "sub").mkdir()
    tokenizer = tiny_tokenizer()
    for name, words in (
        ("a.jsonl", r"line 2, has no text in \['completion'\]"),
        ("b.jsonl", r"or a list in \['messages'\]"),
    ):
        with pytest.raises(InputError, match=words):
            corpus(tmp_path, name).record_tokens(tokenizer)
    for name, words in (
        ("c.jsonl", "line 2, is not JSON"),
        ("d.txt", "not text in UTF-8"),
        ("e.parquet", "is not a Parquet file"),
        ("f.parquet", r"row 2, has no text in \['text'\]"),
        ("*.md", "No file matches"),
        ("sub", r"It is a folder: write 'sub/\*\*/\*.txt'"),
        ("g.jsonl", "g.jsonl is empty"),
    ):
        with pytest.raises(InputError, match=words):
            corpus(tmp_path, name).text_tokens(tokenizer)


def test_a_line_of_json_ends_where_its_line_does(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\x1cfour\x0cfive"
    (tmp_path / "a.jsonl").write_bytes((json.dumps({"text": text}, ensure_ascii=False) + "\r\n").encode() * 2)
    expected = json.loads(json.dumps(text, ensure_ascii=False))
    assert list(corpus(tmp_path, "a.jsonl").texts()) == [expected] * 2


def test_half_a_character_is_said_with_its_place(tmp_path: Path) -> None:
    whole = json.dumps({"text": "\U0001f600"})
    (tmp_path / "a.jsonl").write_text(whole + "\n" + '{"text": "half: \\ud83d"}\n')
    assert next(corpus(tmp_path, "a.jsonl").texts()) == "\U0001f600"
    with pytest.raises(InputError, match="line 2, has an escape for half a character"):
        corpus(tmp_path, "a.jsonl").text_tokens(tiny_tokenizer())


def test_conversations_that_cannot_be_worded_are_said_with_their_place(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message.role == 'x' %}{{ raise_exception('no such role') }}{% endif %}"
        "{{ message.content }}{% endfor %}{% if add_generation_prompt %}|{% endif %}"
    )
    user, answer = {"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}
    for messages, words in (
        ([], "two or more messages"),
        ([answer], "two or more messages"),
        (["who?", "me"], "two or more messages"),
        ([{"role": "x", "content": "who?"}, answer], "cannot be worded: .*no such role"),
        ([{"role": "user"}, answer], "cannot be worded: .*`role` and `content`"),
        ([user, answer], "words otherwise once it is answered"),
    ):
        (tmp_path / "a.jsonl").write_text("\n" + json.dumps({"messages": messages}) + "\n")
        with pytest.raises(InputError, match=f"line 2, has .*{words}"):
            corpus(tmp_path, "a.jsonl").record_tokens(tokenizer)


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before every text, as those of Llama 2 and Mistral do."""
    parts = ["<unk>", "\u2581", "\n", "\n\n", ":", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(
        models.BPE(dict(zip(parts, range(len(parts)), strict=True)), [("\n", "\n")], unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_a_completion_goes_on_from_its_prompt_as_an_answer_does(tmp_path: Path) -> None:
    tokenizer = spaced_tokenizer()
    record = {"prompt": "who:\n", "completion": "me"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n" + json.dumps({**record, "completion": "\nme"}) + "\n")
    tokens = corpus(tmp_path, "a.jsonl").record_tokens(tokenizer)
    found = [tokenizer.convert_ids_to_tokens(tokens[number]) for number in range(4)]
    # A prompt is read alone: where a token has parts of both, it is not that of the prompt.
    assert found == [[*"\u2581who:\n"], [*"me"], [*"\u2581who:\n"], [*"\u2581\nme"]]


def test_an_answer_may_begin_with_what_a_template_ends_with(tmp_path: Path) -> None:
    tokenizer = spaced_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}:\n{{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:\n{% endif %}"
    )
    messages = [{"role": "user", "content": "who"}, {"role": "assistant", "content": "\nme"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    tokens = corpus(tmp_path, "a.jsonl").record_tokens(tokenizer)
    assert [tokenizer.decode(tokens[number]) for number in range(2)] == ["user:\nwho\nassistant:\n", "\nme\n"]


def test_conversations_are_worded_by_the_chat_template_and_divided_before_the_answer(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    messages = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    write_parquet(tmp_path / "a.parquet", [{"messages": messages}])
    with pytest.raises(ConfigurationError, match="no chat template"):
        corpus(tmp_path, "a.jsonl").record_tokens(tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}[{{ message.role }}]{{ message.content }}|{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    for name in ("a.jsonl", "a.parquet"):
        tokens = corpus(tmp_path, name).record_tokens(tokenizer)
        assert [tokenizer.decode(tokens[number]) for number in range(2)] == ["[user]who?|[assistant]", "me|"]
