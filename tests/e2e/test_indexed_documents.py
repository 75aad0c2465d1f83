"""Folders of indexed documents among the other arguments: what they say holds, and what contradicts it is refused."""

import io
import json
import sys
from pathlib import Path

import pytest

TEXT = "".join(f"In the year {1000 + n} nothing of note happened in the valley. " for n in range(40))
OPTIONS = ("--device", "cpu", "--max-new-tokens", 3)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(TEXT[:2000])
    return path


@pytest.fixture
def indexed(command, book: Path, base: Path) -> Path:
    """The book in chunks of 100, with keys and values in eight bits."""
    folder = book.with_name("book.focus")
    cut = ("--chunk-length", 100, "--chunk-kv", "int8")
    assert command("index", book, "-o", folder, "--model", base, "--device", "cpu", *cut).status == 0
    return folder


def test_keys_and_values_of_an_indexed_document_need_not_be_described_again(
    command, book: Path, indexed: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("ask", indexed, "What?", "--model", base, *OPTIONS).status == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n"))
    assert command("chat", indexed, "--model", base, *OPTIONS).status == 0
    again = ("index", book, "-o", indexed, "--model", base, "--device", "cpu", "--chunk-length", 100)
    run = command(*again)
    assert (run.status, " 0 tokens read" in run.err) == (0, True)
    assert command("index", "--repair", indexed, "--model", base, "--device", "cpu").status == 0


def test_an_estimate_of_an_indexed_document_is_of_its_own_chunks(command, indexed: Path, base: Path) -> None:
    run = command("estimate", indexed, "--model", base, "--device", "cpu")
    assert "2,000 tokens in 20 chunks" in run.out
    run = command("estimate", indexed, "--model", base, "--device", "cpu", "--chunk-length", 200)
    assert "2,000 tokens in 10 chunks" in run.out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_standard_input_can_be_estimated(command, base: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT[:2000].encode(encoding)), encoding="utf-8"))
    run = command("estimate", "-", "--model", base, "--device", "cpu", "--chunk-length", 100)
    assert (run.status, "2,000 tokens in 20 chunks" in run.out) == (0, True)


def test_chunks_that_have_been_cut_are_not_cut_otherwise(command, book: Path, indexed: Path, base: Path) -> None:
    for arguments in (("ask", indexed, "What?"), ("chat", indexed), ("index", "--repair", indexed)):
        run = command(*arguments, "--model", "nowhere", "--chunk-length", 50)
        assert (run.status, "was indexed in chunks of 100" in run.err) == (1, True)
    # Of several documents, it cuts those that are read now.
    other = book.with_name("other.txt")
    other.write_text(TEXT[:1000])
    run = command("ask", indexed, other, "What?", "--model", base, "--chunk-length", 50, "--json", *OPTIONS)
    assert json.loads(run.out)["chunks"] == 20 + 20


def test_a_folder_without_a_document_is_refused_before_a_model_is_loaded(command, tmp_path: Path) -> None:
    for arguments in (("ask", tmp_path, "What?"), ("chat", tmp_path), ("estimate", tmp_path)):
        run = command(*arguments, "--model", "nowhere")
        assert (run.status, "No document in" in run.err) == (1, True)


def test_indexing_again_mends_a_damaged_manifest(command, book: Path, indexed: Path, base: Path) -> None:
    (indexed / "manifest.json").write_text("{")
    options = ("--model", base, "--device", "cpu", "--chunk-length", 100)
    run = command("index", "--repair", indexed, *options)
    assert (run.status, "Index the document again" in run.err) == (1, True)
    run = command("index", book, "-o", indexed, *options)
    assert (run.status, "2,000 tokens read" in run.err) == (0, True)
    assert command("ask", indexed, "What?", "--model", base, *OPTIONS).status == 0
