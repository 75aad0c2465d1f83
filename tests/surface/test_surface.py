"""What users can rely on: exported names, options of the commands, a quick import, rooms, small functions."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import focusllm
from focusllm.cli.main import app

SOURCES = sorted(Path(focusllm.__file__).parent.rglob("*.py"))
_MODEL = "adapter candidate_refresh chunk_kv chunk_length device dtype focus_share local_refresh model"
OPTIONS = {
    "ask": f"{_MODEL} arguments as_json evidence heatmap max_new_tokens max_parallel_chunks quiet sample seed stats "
    "temperature top_p",
    "chat": f"{_MODEL} files local_length max_new_tokens max_parallel_chunks",
    "index": "adapter chunk_kv chunk_length device dtype file max_parallel_chunks model output quiet repair",
    "serve": f"{_MODEL} api_key documents files host max_new_tokens max_parallel_chunks max_waiting port quiet",
    "perplexity": "adapter by_base chunk_length device dtype files length local_length model most_segments output "
    "stride",
    "report": "output runs title",
    "estimate": f"{_MODEL} document max_parallel_chunks",
    "convert": "chunk_length dtype model output source to",
    "demo": "device dtype seed tokens",
    "train": "config only_try overrides",
    "ablate": "config",
    "models": "check names",
    "lm-eval": "arguments",
    "eval": f"{_MODEL} chat data depths lengths local_length output policies protocol reasoning seed subsets system "
    "task templates trials",
}


def test_exported_names_exist_and_are_sorted() -> None:
    assert focusllm.__all__ == sorted(focusllm.__all__)
    for name in focusllm.__all__:
        assert getattr(focusllm, name) is not None
    with pytest.raises(AttributeError):
        focusllm.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, focusllm, focusllm.cli.main; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_options_of_the_commands_are_these() -> None:
    group = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found[name] = {parameter.name for parameter in command.params}
        assert all(getattr(parameter, "help", None) for parameter in command.params), name
        assert command.help
        # In brackets a word is taken for markup, and not printed.
        assert not any("[" in (getattr(parameter, "help", None) or "") for parameter in command.params), name
    assert found == {name: set(options.split()) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert length <= 40, f"{node.name} has {length} lines"


def test_there_is_no_pickle_and_no_remote_code() -> None:
    text = "".join(path.read_text() for path in SOURCES)
    for banned in ("import pickle", "torch.load(", "trust_remote_code=True", "beacon_embed"):
        assert banned not in text


def test_public_objects_say_what_they_are() -> None:
    for name in focusllm.__all__:
        value = getattr(focusllm, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value)
