"""`focusllm serve` as a process of its own, asked by OpenAI's own client."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

from focusllm import FocusModel

KEY = "a-key"
PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
TEXT = "".join(f"In the year {1000 + n} nothing of note happened in the valley. " for n in range(60))
TEXT = TEXT[:1500] + "The pass key is 71432. Remember it. " + TEXT[1500:]
QUESTION: Any = [{"role": "user", "content": "What is the pass key?"}]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "my book.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def address(book: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "focusllm", "serve", str(book), "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "FOCUSLLM_API_KEY": KEY}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        said = running.stdout.readline() + running.stdout.readline()
        assert "Documents: my-book (" in said, said + running.stderr.read()
        [found] = re.findall(r"bundled is served at (http://127\.0\.0\.1:\d+/v1); Ctrl-C ends it\.", said)
        yield found
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
        assert running.returncode == 0
        assert "Traceback" not in rest + errors
        assert KEY not in said + rest + errors


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=address, api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


def test_openai_s_client_gets_the_library_s_answer(client: OpenAI, book: Path) -> None:
    [model] = client.models.list().data
    assert model.id == "bundled"
    wanted: Any = FocusModel.from_pretrained(device="cpu").ask(book, "What is the pass key?", max_new_tokens=16)
    assert "71432" in wanted.text
    asked: dict[str, Any] = {"model": model.id, "messages": QUESTION, "max_tokens": 16}
    extra = {"documents": ["my-book"], "evidence": True}
    plain = client.chat.completions.create(**asked, extra_body=extra)
    assert plain.choices[0].message.content == wanted.text
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert plain.usage.prompt_tokens == wanted.num_tokens
    assert "71432" in plain.evidence[0]["text"]  # type: ignore[attr-defined]
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}, extra_body=extra
    )
    events = list(stream)
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == wanted.text
    assert events[-1].usage == plain.usage
    completed = client.completions.create(
        model="bundled", prompt="What is the pass key?", max_tokens=16, extra_body={"documents": ["my-book"]}
    )
    assert completed.choices[0].text == wanted.text


def test_the_python_of_its_page_runs(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    for before, after in (
        ("http://127.0.0.1:8000/v1", address), ('"unused"', repr(KEY)), ('["book"]', '["my-book"]'),
    ):  # fmt: skip
        assert before in block
        block = block.replace(before, after)
    exec(compile(block + "\nclient.close()", "serving.md", "exec"), {})
    assert "71432" in capsys.readouterr().out.splitlines()[0]


def test_openai_s_client_understands_refusals(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="`n` is not supported; got 2") as refused:
        client.chat.completions.create(model="bundled", messages=QUESTION, n=2)
    assert (refused.value.param, refused.value.code) == ("n", "unsupported_parameter")
    with pytest.raises(BadRequestError, match="no chat template"):
        client.chat.completions.create(model="bundled", messages=QUESTION)
    with pytest.raises(NotFoundError, match="There is no document 'other'"):
        client.chat.completions.create(model="bundled", messages=QUESTION, extra_body={"documents": ["other"]})
    with pytest.raises(AuthenticationError, match="The API key is missing or wrong"):
        client.with_options(api_key="another").models.list()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "At '0.0.0.0' others could reach the server"),
        (["--api-key", "two words"], "An API key is made of ASCII letters"),
        (["nowhere.txt"], "There is no file or folder 'nowhere.txt' to serve"),
        (["a/book.txt", "b/book.md"], "would both be served as 'book': rename one of them"),
        (["a"], "No document in 'a'"),
        (["--documents", "a/book.txt"], "a/book.txt is a file; documents are kept in a folder"),
        (["--host", "no such host", "--api-key", "k"], "The server cannot listen at no such host, port 8000"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_before_anything_is_loaded(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FocusModel, "from_pretrained", lambda *_, **__: pytest.fail("nothing must be loaded"))
    for name in ("a/book.txt", "b/book.md"):
        Path(name).parent.mkdir()
        Path(name).write_text("text")
    run = command("serve", *arguments)
    assert (run.status, words in run.err) == (1, True), run.err


def test_documents_of_clients_are_there_the_next_time(
    command: Any, base: Path, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, found = tmp_path / "kept", []

    def visit(app: Any, listener: Any, on_ready: Any, on_stop: Any) -> None:
        with TestClient(app, "http://localhost") as client:
            client.post("/v1/documents", json={"text": TEXT, "id": "story"})
            found.append(client.get("/v1/documents").json()["data"])
        on_ready()
        on_stop()

    monkeypatch.setattr("focusllm.serving.listening.run", visit)
    serve = ("serve", "--documents", kept, "--model", base, "--device", "cpu", "--port", 0)
    as_read = ("--dtype", "bfloat16", "--chunk-length", 100)
    first = command(*serve, *as_read)
    assert (first.status, "Documents: none yet" in first.out) == (0, True)
    (kept / ("0" * 16)).mkdir()
    (kept / ("0" * 16) / "manifest.json").write_text("{}")
    # It is taken up in the precision it was read in, and what cannot be is said.
    command("index", book, "-o", tmp_path / "mine.focus", "--model", base, "--device", "cpu", *as_read)
    again = command(*serve, tmp_path / "mine.focus")
    assert (again.status, f"Documents: mine ({len(TEXT):,} tokens), story ({len(TEXT):,} tokens)" in again.out) == (
        0,
        True,
    )
    assert f"Not served: {kept / ('0' * 16) / 'manifest.json'} is damaged" in again.err
    assert [[one["id"] for one in listed] for listed in found] == [["story"], ["mine", "story"]]


def test_a_port_that_is_taken_is_known_before_anything_is_loaded(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FocusModel, "from_pretrained", lambda *_, **__: pytest.fail("nothing must be loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = command("serve", "--port", port)
    assert (run.status, f"port {port} (Address already in use): give another" in run.err) == (1, True), run.err


def test_without_its_libraries_it_says_how_to_get_them(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fastapi", "focusllm.serving.app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    run = command("serve")
    assert (run.status, "Serving needs 'fastapi': pip install 'focusllm[serve]'." in run.err) == (1, True)
