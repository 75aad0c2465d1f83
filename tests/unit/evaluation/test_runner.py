"""Runs: which samples they consist of, and what is a run that can go on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from focusllm import FocusModel
from focusllm.ablations.settings import Ablation, Variant
from focusllm.cli.loading import parse_length
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, InputError
from focusllm.evaluation.baselines import TruncatedSystem
from focusllm.evaluation.ending import OWN_ENDS, Ending
from focusllm.evaluation.perplexity import Perplexity, run_perplexity
from focusllm.evaluation.runner import Grid, GridSuite, run_grid, run_suite, run_suites
from focusllm.evaluation.runs import SAMPLES_NAME, find_runs
from focusllm.evaluation.tasks.passkey import Passkey
from focusllm.evaluation.tasks.registry import TASKS
from focusllm.files import held
from tiny import SMALL, disturb, random_ids, tiny_base, tiny_tokenizer


@pytest.mark.parametrize(
    ("lengths", "num_depths", "trials"), [((), 1, 1), ((100, 0), 1, 1), ((100,), 0, 1), ((100,), -1, 1), ((100,), 1, 0)]
)
def test_a_run_without_samples_is_refused_before_anything_is_made(
    lengths: tuple[int, ...], num_depths: int, trials: int
) -> None:
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Grid(lengths, num_depths, trials)
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Ablation(
            Path("recipe"), Path("out"), (Variant("a"), Variant("b")),
            lengths=lengths, num_depths=num_depths, trials=trials,
        )  # fmt: skip


def test_depths_are_taken_in_turn() -> None:
    assert [(depth, trial) for _, depth, trial in Grid((9,), 3, 5).cells()] == [
        (0.0, 0), (0.5, 1), (1.0, 2), (0.0, 3), (0.5, 4),
    ]  # fmt: skip
    assert list(Grid((9,), 1, 2).cells()) == [(9, 0.0, 0), (9, 0.0, 1)]


@pytest.mark.parametrize(("text", "number"), [("400,000", 400_000), ("1_000", 1000), ("64K", 65_536), ("1k", 1024)])
def test_numbers_of_tokens_may_be_written_as_people_do(text: str, number: int) -> None:
    assert parse_length(text) == number


@pytest.mark.parametrize("text", ["\u00b2", "4\u00b2K", "-4", "K", ""])
def test_what_is_no_number_of_tokens_is_said(text: str) -> None:
    with pytest.raises(ConfigurationError, match="Lengths are numbers"):
        parse_length(text)


@dataclass
class Copying:
    """A system that says something, then the answer, then more, until it may end."""

    says: list[int]
    name: str = "copying"
    config: FocusConfig = SMALL

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        counts = (n for n in range(1, max_new_tokens) if ending.suffices(self.says[:n]))
        return self.says[: next(counts, max_new_tokens)]


@pytest.mark.parametrize(("name", "ends"), [("niah-single-1", True), ("passkey", False)])
def test_an_output_ends_where_nothing_that_follows_could_make_it_wrong(name: str, ends: bool, tmp_path: Path) -> None:
    model, task, grid = model_of(), TASKS[name], Grid((3000,), 1, 1)
    [cell] = GridSuite(task, grid).cells()
    answer = cell.draw(model.encode).answer
    says = model.encode(f"it is {answer}, and {answer}")
    [record] = run_grid(task, Copying(says), model, grid, tmp_path / "samples.jsonl")
    assert record["is_right"] or not ends
    assert record["output"] == (f"it is {answer}" if ends else model.tokenizer.decode(says[: task.max_new_tokens]))


def model_of(**changes: Any) -> FocusModel:
    config = replace(SMALL, local_refresh="cached", candidate_refresh=0)
    return FocusModel(tiny_base(vocab_size=300, **changes), config, tiny_tokenizer()).eval()


def ask(model: FocusModel, path: Path, trials: int = 2) -> list[dict[str, Any]]:
    return run_grid(Passkey(), TruncatedSystem(model), model, Grid((400,), 2, trials), path)


def test_suites_take_turns_and_each_is_what_it_is_alone(tmp_path: Path) -> None:
    model, system = model_of(), Copying([5, 6])
    suites = [GridSuite(TASKS[name], Grid((3000,), 2, trials)) for name, trials in (("passkey", 2), ("key-value", 3))]
    seen: list[tuple[str, bool]] = []
    every = [(suite, {tmp_path / suite.task.name / "samples.jsonl": system}) for suite in suites]
    run_suites(every[1:], model)
    run_suites(every, model, lambda suite, record, is_new: seen.append((suite.task.name, is_new)))  # type: ignore[attr-defined]
    assert seen == [("passkey-landmark", True), ("key-value", False)] * 2 + [("key-value", False)]
    for suite, systems in every:
        [path] = systems
        alone = run_grid(suite.task, system, model, suite.grid, tmp_path / "alone" / path.parent.name / path.name)
        together = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        assert [one["output"] for one in together] == [one["output"] for one in alone]
        assert [one["seed"] for one in together] == [one["seed"] for one in alone]


def test_systems_that_were_run_together_are_reported_in_their_order(tmp_path: Path) -> None:
    model, suite = model_of(), GridSuite(Passkey(), Grid((400,), 1, 1))
    said = model.encode("nothing " * 10)
    systems = {tmp_path / name / SAMPLES_NAME: Copying(said, name) for name in ("paper", "cached", "once")}
    for given in (systems, dict(reversed(systems.items()))):
        # A run that goes on is the same in any order.
        run_suite(suite, given, model)
        assert [run.label for run in find_runs([tmp_path])] == ["paper", "cached", "once"]


def test_a_run_does_not_go_on_with_another_model(tmp_path: Path) -> None:
    """Samples of two models in one file would be counted as one model's."""
    path = tmp_path / "samples.jsonl"
    found = ask(model_of(), path)
    assert ask(model_of(), path) == found
    # The same weights, but the first line would not say so.
    with pytest.raises(InputError, match=r"holds another run: \['dtype'\] differ"):
        ask(model_of().to(torch.float32), path)
    others = [model_of(), model_of()]
    disturb(others[0])
    others[1].base.base_model.layers[0].self_attn.q_proj.base_layer.weight.data.mul_(1.5)  # type: ignore[union-attr]
    for other in others:
        with pytest.raises(InputError, match=r"holds another run: \['model'\] differ"):
            ask(other, path)
        run_perplexity(Perplexity(model_of(), random_ids(40), 8), tmp_path / f"{id(other)}.jsonl")
        with pytest.raises(InputError, match=r"\['model'\] differ"):
            run_perplexity(Perplexity(other, random_ids(40), 8), tmp_path / f"{id(other)}.jsonl")
    # Runs of versions that did not say which model they were of go on.
    header, *records = map(json.loads, path.read_text().splitlines())
    del header["model"]
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *records)))
    assert len(ask(others[0], path, trials=3)) == 3


def test_a_run_does_not_go_on_with_fewer_settings(tmp_path: Path) -> None:
    """What a run was made with, and this one knows nothing of, is a difference, too."""
    path = tmp_path / "samples.jsonl"
    ask(model_of(), path)
    header, *records = map(json.loads, path.read_text().splitlines())
    text = "".join(json.dumps(line) + "\n" for line in ({**header, "aloud": True}, *records)) + "no line of ours"
    path.write_text(text)
    with pytest.raises(InputError, match=r"\['aloud'\] differ"):
        ask(model_of(), path)
    assert path.read_text() == text


def test_a_run_does_not_go_on_with_other_prompts(tmp_path: Path) -> None:
    """A tokenizer or a Python installation that changed would make other samples under the same names."""
    path = tmp_path / "samples.jsonl"
    ask(model_of(), path)
    before = path.read_text()
    changed = model_of()
    changed.tokenizer.add_tokens(["grass"])  # type: ignore[union-attr]
    with pytest.raises(InputError, match="with another prompt"):
        ask(changed, path, trials=3)
    assert path.read_text() == before


def test_two_processes_do_not_write_the_same_run(tmp_path: Path) -> None:
    scored = Perplexity(model_of(), random_ids(40), 8)
    with held(tmp_path):
        with pytest.raises(InputError, match="Another process is writing to"):
            ask(model_of(), tmp_path / "samples.jsonl")
        with pytest.raises(InputError, match="Another process is writing to"):
            run_perplexity(scored, tmp_path / "segments.jsonl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["[1]\n", "3\n", "PK\n", "PK", "[1]\n3", "{}\nPK\n", "\n\n", '{}\n{"a": 1}\n', "{}\n[]\n", "\xff\n"]
)
def test_files_that_are_no_run_s_are_said_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is not a run's file, or is damaged"):
        ask(model_of(), path)
    with pytest.raises(InputError, match="is not a run's file, or is damaged"):
        run_perplexity(Perplexity(model_of(), random_ids(40), 8), path)
    assert path.read_bytes() == text.encode("latin-1")
