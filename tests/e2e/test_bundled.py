"""The model inside the package: its bounds, and that it reads far beyond its window."""

import re
import sys
from pathlib import Path

import pytest
import torch

from focusllm import FocusModel
from focusllm.bundled.model import ADAPTER_PATH, BASE_PATH
from focusllm.cli.main import main
from focusllm.evaluation.baselines import TruncatedSystem
from focusllm.evaluation.runner import Grid, run_grid
from focusllm.evaluation.systems import FocusSystem
from focusllm.evaluation.tasks.facts import Facts
from focusllm.evaluation.tasks.passkey import Passkey


@pytest.fixture(scope="module")
def model() -> FocusModel:
    return FocusModel.from_pretrained(device="cpu")


def test_it_is_small_and_holds_no_pickle() -> None:
    files = [path for folder in (BASE_PATH, ADAPTER_PATH) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


def test_its_base_has_at_most_ten_million_parameters_and_a_window_of_1024(model: FocusModel) -> None:
    with model.disabled() as base:
        assert sum(parameter.numel() for parameter in base.parameters()) <= 10_000_000
    assert model.window == 1024


def test_the_code_on_its_model_card_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ADAPTER_PATH / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, FocusModel] = {}
    exec(code.replace("PATH", str(ADAPTER_PATH)), names)
    assert names["model"].window == 1024


def test_its_adapter_can_be_named(model: FocusModel) -> None:
    for base in (None, "bundled"):
        named = FocusModel.from_pretrained(base, "bundled", device="cpu")
        assert not named.adapter.is_untrained
        for name, value in named.adapter.parameters().items():
            assert torch.equal(value, model.adapter.parameters()[name])


@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
def test_passkeys_eight_windows_long_are_found(model: FocusModel, local_refresh: str, tmp_path: Path) -> None:
    model.configure(local_refresh=local_refresh)
    records = run_grid(Passkey(), FocusSystem(model), model, Grid((8192,), 5, trials=10), tmp_path / "focus.jsonl")
    # A floor that tells working from broken; what was measured is in docs/results/tiny.md.
    assert sum(record["is_right"] for record in records) >= 9
    records = run_grid(Passkey(), TruncatedSystem(model), model, Grid((8192,), 5, trials=10), tmp_path / "base.jsonl")
    assert sum(record["is_right"] for record in records) <= 3


def test_facts_in_unseen_wordings_are_found_beyond_the_window(model: FocusModel, tmp_path: Path) -> None:
    model.configure(local_refresh="cached")
    records = run_grid(Facts(), FocusSystem(model), model, Grid((4096,), 5, trials=10), tmp_path / "facts.jsonl")
    # A floor, as above: about half of them are right.
    assert sum(record["is_right"] for record in records) >= 3


def test_the_demo_shows_both_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # What is no more than brackets to people is markup to the library that draws the table.
    monkeypatch.setattr("focusllm.cli.demo._first_line", lambda _: "an answer [/b]")
    monkeypatch.setattr(sys, "argv", ["focusllm", "demo", "--tokens", "5000", "--device", "cpu"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    printed = capsys.readouterr().out
    assert "FocusLLM" in printed
    assert "the base alone" in printed
    assert printed.count("an answer [/b]") == 2
    assert "seed 0" in printed


def test_several_questions_have_the_answers_each_would_have_alone(model: FocusModel) -> None:
    text = "".join(f"Nothing was said about item {number}.\n" for number in range(900))
    together = model.ask(text, ["What is the color of the door?", "What is the code?"], max_new_tokens=5)
    assert isinstance(together, list)
    for question, answer in zip(["What is the color of the door?", "What is the code?"], together, strict=True):
        assert model.ask(text, question, max_new_tokens=5).token_ids == answer.token_ids  # type: ignore[union-attr]
