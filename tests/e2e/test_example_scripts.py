"""The examples run as they are typed, on little data."""

import runpy
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from tiny import save_tiny_base

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run an example in a folder, as Python runs a script, and return what it printed."""

    def run(folder: Path, name: str, *arguments: str) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLES.parent / "LICENSE", tmp_path / "license.txt")
    return tmp_path


def long_text(fact: str, sentences: int = 400) -> str:
    haystack = ["The wind turned to the north, and nobody said a word.\n"] * sentences
    return "".join([*haystack[: sentences // 2], fact + "\n", *haystack[sentences // 2 :]])


def test_source_code_names_the_file_and_the_line(run, folder: Path) -> None:
    (folder / "src").mkdir()
    shutil.copy(shlex.__file__, folder / "src" / "first.py")
    source = Path(textwrap.__file__).read_text()
    (folder / "src" / "second.py").write_text(f"{source}\n# The pass key is 48213. Remember it.\n")
    said = run(folder, "source_code.py", "src", "What is the pass key?")
    assert "48213" in said
    assert "src/second.py:" in said


def test_of_a_log_that_grew_only_the_end_is_read(run, folder: Path) -> None:
    log, question = folder / "service.log", "What is the pass key?"
    log.write_text(long_text("The pass key is 48213. Remember it."))
    first = run(folder, "growing_log.py", "service.log", "service.focus", question)
    assert "48213" in first
    with log.open("a") as file:
        file.write("All is well.\n" * 100)
    second = run(folder, "growing_log.py", "service.log", "service.focus", question)
    assert "48213" in second
    (read, total), (read_again, total_again) = (
        [int(word.replace(",", "")) for word in said.split() if word.replace(",", "").isdigit()][:2]
        for said in (first, second)
    )
    assert read == total < total_again
    assert 0 < read_again < total_again / 2


def test_an_adapter_for_a_base_of_ones_own(run, folder: Path) -> None:
    save_tiny_base(folder / "base")
    small = ("--steps", "2", "--chunk-length", "64", "--row-tokens", "600")
    run(folder, "own_adapter.py", "base", "*.txt", "adapter", *small)
    assert (folder / "adapter" / "adapter_model.safetensors").exists()


def test_what_transformers_users_know(run, folder: Path) -> None:
    (folder / "book.txt").write_text(long_text("The pass key is 48213. Remember it."))
    said = run(folder, "as_in_transformers.py", "book.txt", "What is the pass key?")
    assert said.count("48213") >= 2
