"""The code in the documents runs, and what they link to exists."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from focusllm.evaluation.runs import find_runs

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(python_blocks(ROOT / "README.md"))))
def test_the_readme_s_python_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files it names are there, and what it writes is not left in the repository.
    shutil.copy(ROOT / "LICENSE", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(python_blocks(ROOT / "README.md")[number], "README.md", "exec"), names)
    # What the first lines a reader sees promise.
    assert number > 0 or names["answer"].text == "71432"


def test_training_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = python_blocks(ROOT / "docs" / "training.md")
    names: dict[str, Any] = {}
    exec(compile(block, "training.md", "exec"), names)
    assert names["model"].config.chunk_length == 64


def test_evaluation_s_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = python_blocks(ROOT / "docs" / "evaluation.md")
    names: dict[str, Any] = {}
    exec(compile(block, "evaluation.md", "exec"), names)
    assert [(result.group, result.right, result.trials) for result in names["by_group"](names["samples"])] == [
        (2048, 2, 2),
        (4096, 2, 2),
    ]
    assert capsys.readouterr().out.startswith("2,048 tokens: 100% (95%: 34% to 100%) in ")
    # What the text behind it says of reading runs again.
    [run] = find_runs([Path("results")])
    assert run.results == names["by_group"](names["samples"])
    assert {"answer", "output", "score"} <= names["samples"][0].keys()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    for target in re.findall(r"`((?:tests|docs|recipes|benchmarks)/[\w/.-]+)`", text):
        assert (ROOT / target).exists(), target


def test_every_command_of_the_readme_is_one() -> None:
    from typer.main import get_command

    from focusllm.cli.main import app

    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    used = re.findall(r"^(?:cat .*\| )?focusllm ([\w-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert used
    assert set(used) <= names
