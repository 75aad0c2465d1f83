"""The command among terminals, pipes and other programs: its streams may end, break or hold something else."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from focusllm.answering import Answerer
from focusllm.decoding.engine import FocusEngine
from focusllm.errors import DocumentError

TEXT = "".join(f"Im Jahr {1000 + n} geschah im Tal nichts, 谷では何も起きなかった 🌄. " for n in range(20))
OPTIONS = ("--chunk-length", 100, "--device", "cpu", "--max-new-tokens", 3)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "ein Buch 📖.txt"
    path.write_text(TEXT)
    return path


def input_of(data: bytes, **how: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", **how)


def test_the_module_completes_words_as_the_command_does() -> None:
    asked = {"_FOCUSLLM_COMPLETE": "complete_bash", "COMP_WORDS": "focusllm es", "COMP_CWORD": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "focusllm"], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert run.stdout.split() == ["estimate"]


@pytest.mark.parametrize("name", ["ask", "index", "chat"])
def test_an_interruption_is_one_line(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place = {"ask": "FocusEngine.step", "index": "FocusEngine.index", "chat": "FocusEngine.index"}[name]
    monkeypatch.setattr(f"focusllm.decoding.engine.{place}", interrupt)
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n"))
    rest: dict[str, tuple[object, ...]] = {"ask": ("What?",), "index": ("-o", book.with_name("d")), "chat": ()}
    options = OPTIONS[:4] if name == "index" else OPTIONS
    run = command(name, book, *rest[name], "--model", base, *options)
    assert (run.status, run.out) == (130, "")
    assert run.err.splitlines()[-1] == "Interrupted."


def test_an_interruption_ends_an_answer_and_not_the_chat(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interruptions = [KeyboardInterrupt()]
    step = FocusEngine.step

    def interrupted_once(*arguments: Any, **named: Any) -> Any:
        if interruptions:
            raise interruptions.pop()
        return step(*arguments, **named)

    def said(*lines: str) -> Any:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return command("chat", book, "--model", base, *OPTIONS)

    undisturbed = said("What?").out
    monkeypatch.setattr("focusllm.decoding.engine.FocusEngine.step", interrupted_once)
    run = said("What?", "What?")
    assert (run.status, run.err.count("Interrupted.")) == (0, 1)
    begun, whole = run.out.splitlines()
    assert whole + "\n" == undisturbed
    assert undisturbed.startswith(begun)


def test_a_reader_that_has_seen_enough_ends_it_without_a_word() -> None:
    for arguments in (["models"], ["models", "--names"], ["--help"]):
        with subprocess.Popen(
            [sys.executable, "-m", "focusllm", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.close()
            assert running.stderr.read() == b""


def test_streams_that_are_closed_are_empty(command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    run = command("ask", "-", "What?", "--model", base, *OPTIONS)
    assert (run.status, "The document is empty" in run.err) == (1, True)
    run = command("chat", book, "--model", base, *OPTIONS)
    assert (run.status, run.out) == (0, "")
    monkeypatch.setattr(sys, "stderr", None)
    run = command("ask", book, "What?", "--model", base, *OPTIONS)
    assert (run.status, len(run.out.splitlines()) > 0) == (0, True)


def test_what_a_stream_cannot_show_is_shown_by_its_number(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="latin-1"))
    run = command("ask", book, "What?", "--evidence", "--model", base, *OPTIONS)
    assert run.status == 0
    assert rb"\u8c37" in shown.getvalue()
    assert rb"\U0001f304" in shown.getvalue()


def test_what_is_typed_or_piped_in_another_encoding_is_one_sentence(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ("chat", book, "--model", base, *OPTIONS)
    ask = ("ask", "-", "What?", "--model", base, *OPTIONS)
    for errors in ("strict", "surrogateescape"):
        for arguments in (chat, ask):
            monkeypatch.setattr(sys, "stdin", input_of(b"Qui \xe9tait-ce?\n", errors=errors))
            run = command(*arguments)
            assert run.out == ""
            assert run.err.count("Error: ") == 1
            assert "UTF-8" in run.err or "Unicode" in run.err
    run = command("ask", book, "Qui \udce9tait-ce?", "--model", base, *OPTIONS)
    assert (run.status, run.err.startswith("Error: "), "Unicode" in run.err) == (1, True, True)


@pytest.mark.parametrize("name", ["notes[/b]", "notes [draft]"])
def test_names_are_said_as_they_are_and_in_one_line(command, book: Path, base: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / ("long " * 30)
    folder.parent.mkdir(parents=True)
    run = command("index", book, "-o", folder, "--model", base, *OPTIONS[:4])
    assert run.status == 0
    assert f"{folder}/;" in run.err


def test_a_file_given_twice_is_refused_and_so_is_standard_input(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(TEXT))
    for name in (book, "-"):
        run = command("ask", name, name, "What?", "--model", base, *OPTIONS)
        assert (run.status, run.out) == (1, "")
        assert f"{str(name)!r} was given twice" in run.err


@pytest.mark.parametrize("count", [0, -1])
def test_an_answer_of_no_tokens_is_refused_before_anything_is_read(command, book: Path, count: int) -> None:
    for name, rest in (("ask", ["What?"]), ("chat", [])):
        run = command(name, book, *rest, "--model", "nowhere", "--max-new-tokens", count)
        assert run.status == 2
        assert "--max-new-tokens" in run.err


def test_a_word_with_a_dot_is_a_question_unless_it_looks_like_a_file(command, book: Path, base: Path) -> None:
    run = command("ask", book, "Python3.11とは何ですか", "--model", base, *OPTIONS)
    assert run.status == 0
    run = command("ask", book, "missing.txt", "What?", "--model", base, *OPTIONS)
    assert (run.status, "There is no file 'missing.txt'" in run.err) == (1, True)


def test_a_picture_is_whole_or_not_there(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_until_full(_: object, path: Any, **__: object) -> None:
        Path(path).write_bytes(b"\x89PNG")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write_until_full)
    run = command("ask", book, "What?", "--heatmap", tmp_path / "map.png", "--model", base, *OPTIONS)
    assert (run.status, "No space left on device" in run.err) == (1, True)
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt"}


def test_a_number_of_tokens_no_window_holds_is_one_sentence(command, base: Path) -> None:
    run = command("estimate", "200,000,000", "--model", base, *OPTIONS[:4])
    assert (run.status, "the base's window has 512" in run.err) == (1, True)
    run = command("estimate", "²", "--model", base)
    assert (run.status, run.err.startswith("Error: There is no file")) == (1, True)


def test_an_interruption_leaves_the_answers_that_are_there(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("ask", book, "What?", "And then?", "--model", base, *OPTIONS)
    first = command(*asked).out.splitlines()[:2]
    answer, interruptions = Answerer._answer, [None, KeyboardInterrupt()]

    def interrupted_then(*given: Any) -> Any:
        if (interruption := interruptions.pop(0)) is not None:
            raise interruption
        return answer(*given)

    monkeypatch.setattr(Answerer, "_answer", interrupted_then)
    run = command(*asked)
    assert (run.status, run.out.splitlines()) == (130, first)


def test_a_chat_knows_what_is_no_question_and_ends_its_line(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO("/help\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    run = command("chat", book, "--model", base, *OPTIONS)
    assert (run.status, run.out) == (0, "> > \n")
    assert "There is no command /help. Ask about it. /evidence" in run.err


def test_a_question_that_failed_takes_no_part_of_the_next_answer(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = command("ask", book, "What?", "--model", base, *OPTIONS).out
    ask, failures = FocusEngine.ask, [DocumentError("A shard is damaged.")]

    def failed_once(*given: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return ask(*given, **named)

    monkeypatch.setattr(FocusEngine, "ask", failed_once)
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\nWhat?\n"))
    run = command("chat", book, "--model", base, *OPTIONS)
    assert (run.status, run.out, run.err.count("Error: ")) == (0, wanted, 1)


def test_quiet_is_quiet(command, book: Path, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = ("ask", book, "What?", "--model", base, *OPTIONS)
    run = command(*asked, "--quiet")
    assert (run.status, run.err, caplog.records) == (0, "", [])
    assert command(*asked).err
    assert "adapter" in caplog.text
