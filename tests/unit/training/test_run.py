"""Training runs: what is learned, what is kept, what a cut costs."""

import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainingArguments

from focusllm import FocusModel
from focusllm.bundled.model import ADAPTER_PATH
from focusllm.condensing import adapter_files
from focusllm.condensing.adapter_files import WEIGHTS_NAME
from focusllm.errors import (
    AdapterError,
    ConfigurationError,
    InputError,
    MissingDependencyError,
    TrainingError,
    WindowError,
)
from focusllm.files import held
from focusllm.training import run
from focusllm.training.recipe import Recipe, make_drawer, read_recipe
from focusllm.training.run import train
from focusllm.training.trainer import LOG_NAME, FocusTrainer, newest_complete_checkpoint
from tiny import save_tiny_base, tiny_tokenizer

RECIPE = """
base: base
output: {output}
steps: 8
focus: {{chunk_length: 32, local_length: 24, dynamic_prompt_length: 16, rank: {rank}}}
draws: {{chunk_lengths: [16, 32], row_tokens: 400, max_chunks: 6}}
data:
  - {{kind: continuation, files: "text/*.txt", max_supervised: 4}}
  - {{kind: reconstruction, files: ["text/*.txt"], max_supervised: 4, share: 2}}
  - {{kind: records, files: records.jsonl, max_supervised: 4}}
  - {{kind: facts, files: "text/*.txt"}}
arguments: {{learning_rate: 1.0e-2, save_steps: 3, logging_steps: 1, disable_tqdm: true}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_base(tmp_path / "base")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 40)
    records = [
        {"prompt": f"The key of room {n} is {n * 7}. " * 8 + "The key is", "completion": f" {n * 7}."} for n in range(5)
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def recipe_at(folder: Path, output: str, rank: int | None = None) -> Path:
    path = folder / f"{output}.yaml"
    path.write_text(RECIPE.format(output=folder / output, rank="null" if rank is None else rank))
    return path


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def losses(folder: Path) -> dict[int, float]:
    return {int(line["step"]): line["loss"] for line in logged(folder) if "loss" in line}


def test_a_precision_the_cpu_only_emulates_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found: dict[str, dict[int, float]] = {}
    for name, settings, emulated in (
        ("exact", [], True),
        ("left out", ["bfloat16"], True),
        ("used", ["bfloat16"], False),
    ):
        monkeypatch.setattr(run, "is_emulated", lambda *_, emulated=emulated: emulated)
        changes = ["steps=1", *(f"row_dtype={setting}" for setting in settings)]
        found[name] = losses(train(read_recipe(recipe_at(folder, name), changes)))
    assert found["left out"] == found["exact"] != found["used"]
    assert caplog.text.count("has no arithmetic for bfloat16") == 1


@pytest.mark.parametrize("rank", [None, 2])
def test_a_run_trains_the_adapter_and_leaves_the_base(folder: Path, rank: int | None) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "base").iterdir()}
    output = train(read_recipe(recipe_at(folder, "run", rank)))
    assert {path.name: path.read_bytes() for path in (folder / "base").iterdir()} == before
    model = FocusModel.from_pretrained(folder / "base", output, device="cpu")
    fresh = FocusModel(AutoModelForCausalLM.from_pretrained(folder / "base"), model.config)
    moved = [
        not torch.equal(value, fresh.adapter.parameters()[name])
        for name, value in model.adapter.parameters().items()
        if not name.endswith("candidate_down")
    ]
    assert all(moved)
    card = (output / "README.md").read_text()
    assert f"{sum(value.numel() for value in model.adapter.parameters().values()):,} parameters" in card
    assert "8 steps; at the end loss" in card
    assert "max_supervised: 4" in card
    # A path is no name of a model on the Hub.
    assert "base_model:" not in card
    assert f"--model {folder / 'base'} --adapter" in card
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(losses(output)) == list(range(1, 9))
    kinds = {name for line in (output / LOG_NAME).read_text().splitlines() for name in json.loads(line)}
    assert {"loss_continuation", "loss_reconstruction", "loss_records", "loss_facts", "peak_memory_gb"} <= kinds


def test_a_run_that_was_cut_ends_as_if_it_had_not_been(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(read_recipe(recipe_at(folder, "whole")))

    original, calls = FocusTrainer.compute_loss, []

    def cut_at_the_fifth(self: FocusTrainer, *arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)  # type: ignore[arg-type]

    recipe = read_recipe(recipe_at(folder, "cut"))
    monkeypatch.setattr(FocusTrainer, "compute_loss", cut_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        train(recipe)
    monkeypatch.setattr(FocusTrainer, "compute_loss", original)
    # The cut came in the middle of a line.
    with (folder / "cut" / LOG_NAME).open("a") as log:
        log.write('{"step": 5, "lo')
    resumed = train(recipe)

    # The fourth step was made twice.
    assert [line["step"] for line in logged(resumed)] == [line["step"] for line in logged(whole)]
    assert losses(resumed) == losses(whole)
    found, wanted = load_file(resumed / WEIGHTS_NAME), load_file(whole / WEIGHTS_NAME)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_line_that_is_none_of_the_log_s_is_named(folder: Path) -> None:
    recipe = read_recipe(recipe_at(folder, "run"))
    log = train(recipe) / LOG_NAME
    said = log.read_text()
    log.write_text(f"not JSON\n{said}")
    with pytest.raises(TrainingError, match=r"loss\.jsonl holds a line .* 'not JSON'"):
        train(recipe)
    assert log.read_text() == f"not JSON\n{said}"


def test_a_half_written_checkpoint_is_passed_over(folder: Path) -> None:
    output = train(read_recipe(recipe_at(folder, "run")))
    newest = newest_complete_checkpoint(output)
    assert newest is not None
    assert newest.name == "checkpoint-8"
    weights = newest / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    older = newest_complete_checkpoint(output)
    assert older is not None
    assert older.name == "checkpoint-6"
    (older / "complete.json").unlink()
    assert newest_complete_checkpoint(output) is None


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "weights cut": lambda newest, _: cut_in_half(newest / WEIGHTS_NAME),
    "weights flipped": lambda newest, _: flip_a_bit(newest / WEIGHTS_NAME),
    "optimizer flipped": lambda newest, _: flip_a_bit(newest / "optimizer.pt"),
    "scheduler missing": lambda newest, _: (newest / "scheduler.pt").unlink(),
    "state cut": lambda newest, _: cut_in_half(newest / "trainer_state.json"),
    "marker missing": lambda newest, _: (newest / "complete.json").unlink(),
    "marker cut": lambda newest, _: cut_in_half(newest / "complete.json"),
    "weights of another": lambda newest, older: shutil.copy(older / WEIGHTS_NAME, newest / WEIGHTS_NAME),
}


def test_a_damaged_newest_checkpoint_costs_steps_and_nothing_else(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(read_recipe(recipe_at(folder, "whole")))
    wanted = load_file(whole / WEIGHTS_NAME)
    for name, damage in DAMAGES.items():
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        (run / WEIGHTS_NAME).unlink()
        damage(run / "checkpoint-8", run / "checkpoint-6")
        caplog.clear()
        found = load_file(train(read_recipe(recipe_at(folder, "run"))) / WEIGHTS_NAME)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), name
        assert "checkpoint-8 is passed over" in caplog.text, name


@pytest.mark.slow
def test_runs_killed_at_thirty_moments_end_as_an_undisturbed_one(folder: Path) -> None:
    changes = (("steps: 8", "steps: 60"), ("save_steps: 3", "save_steps: 1"))
    paths = [recipe_at(folder, name) for name in ("whole", "killed")]
    for path in paths:
        for old, new in changes:
            path.write_text(path.read_text().replace(old, new))
    driver = Path(__file__).parents[2] / "kill_driver.py"
    # One thread: children of a process that has used several would wait for them.
    alone = {"capture_output": True, "text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    for path, kills in zip(paths, (0, 30), strict=True):
        ran = subprocess.run([sys.executable, driver, path, str(kills), "0"], **alone)  # type: ignore[call-overload]
        assert ran.returncode == 0, ran.stderr
        assert int(ran.stdout.split()[-1]) == kills
    wanted, found = (load_file(folder / name / WEIGHTS_NAME) for name in ("whole", "killed"))
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert losses(folder / "killed") == losses(folder / "whole")


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / WEIGHTS_NAME)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_goes_on_by_its_own_recipe_alone(folder: Path) -> None:
    path = recipe_at(folder, "run")
    output = train(read_recipe(path))
    before = weights_of(output)
    for other in ("arguments.learning_rate=1e-3", "steps=4", "data={kind: continuation}"):
        with pytest.raises(TrainingError, match=rf"\['{other.partition('=')[0].partition('.')[0]}'\] differ"):
            train(read_recipe(path, [other]))
    # It may lie elsewhere, and is then what it was.
    moved, said = folder / "moved", logged(output)
    shutil.move(output, moved)
    assert same(weights_of(train(read_recipe(path, [f"output={moved}"]))), before)
    assert [sorted(line) for line in logged(moved)] == [sorted(line) for line in said]
    (moved / "recipe.json").unlink()
    assert max(losses(train(read_recipe(path, [f"output={moved}", "steps=9"])))) == 9
    assert json.loads((moved / "recipe.json").read_text())["steps"] == 9


def test_a_run_goes_on_with_its_own_data_and_processes_alone(folder: Path) -> None:
    path = recipe_at(folder, "run")
    output = train(read_recipe(path))
    (folder / "text" / "b.txt").write_text("Another book, which was not there before.\n" * 40)
    with pytest.raises(TrainingError, match=r"\['contents of data'\] differ"):
        train(read_recipe(path))
    (folder / "text" / "b.txt").unlink()
    kept = json.loads((output / "recipe.json").read_text())
    (output / "recipe.json").write_text(json.dumps({**kept, "number of processes": 8}))
    with pytest.raises(TrainingError, match=r"\['number of processes'\] differ"):
        train(read_recipe(path))
    # As it was kept before.
    old = {name: value for name, value in kept.items() if name not in ("number of processes", "contents of data")}
    (output / "recipe.json").write_text(json.dumps(old))
    assert train(read_recipe(path)) == output


def test_of_an_attempt_without_checkpoints_nothing_is_in_the_log(folder: Path) -> None:
    path = recipe_at(folder, "run")
    train(read_recipe(path, ["steps=6", "arguments.save_strategy='no'"]))
    output = train(read_recipe(path, ["steps=2", "arguments.save_strategy='no'"]))
    assert sorted(losses(output)) == [1, 2]
    assert "2 steps; at the end loss" in (output / "README.md").read_text()
    assert "of the last 2 entries" in (output / "README.md").read_text()


def test_what_has_diverged_is_said_and_not_written(folder: Path) -> None:
    recipe = read_recipe(recipe_at(folder, "run"), ["arguments.learning_rate=1e38", "arguments.save_steps=4"])
    with pytest.raises(TrainingError, match=r"Training has diverged: .* not finite at step 4"):
        train(recipe)
    assert not list(Path(recipe.output).rglob("*.safetensors"))
    # What was logged is the loss, not the mean of those before it.
    assert not all(math.isfinite(loss) for loss in losses(Path(recipe.output)).values())


# The adapter has 42,000 bytes, the optimizer's state twice as many.
@pytest.mark.parametrize("most_bytes", [20_000, 70_000])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(folder: Path, most_bytes: int) -> None:
    recipe = read_recipe(recipe_at(folder, "run"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be written: .* Make room there"):
            train(recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert newest_complete_checkpoint(recipe.output) is None
    assert sorted(losses(train(recipe))) == list(range(1, 9))


def test_activations_may_be_made_again(folder: Path) -> None:
    plain = train(read_recipe(recipe_at(folder, "plain")))
    again = train(read_recipe(recipe_at(folder, "again"), ["arguments.activation_checkpointing=true"]))
    assert losses(again) == {step: pytest.approx(loss, rel=1e-5) for step, loss in losses(plain).items()}


def test_a_process_with_several_gpus_trains_on_all_its_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = train(read_recipe(recipe_at(folder, "alone")))

    class OnTwoGpus(TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            assert self.device is not None
            self._n_gpu = 2

    monkeypatch.setattr("focusllm.training.arguments.TrainingArguments", OnTwoGpus)
    assert losses(train(read_recipe(recipe_at(folder, "many")))) == losses(alone)


def test_checkpoints_hold_no_base_weights(folder: Path) -> None:
    output = train(read_recipe(recipe_at(folder, "run", rank=2)))
    adapter_bytes = (output / WEIGHTS_NAME).stat().st_size
    sizes = {path.name: path.stat().st_size for path in (output / "checkpoint-8").iterdir()}
    assert "model.safetensors" not in sizes
    assert "training_args.bin" not in sizes
    # Two moments for every parameter, and the rest is small.
    assert sizes["optimizer.pt"] < 2 * adapter_bytes + 40_000


def test_what_is_uploaded_has_its_own_model_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[tuple[str, str]] = []

    class Hub:
        def upload_folder(self, *, folder_path: str, commit_message: str, **_: object) -> None:
            uploads.append((commit_message, (Path(folder_path) / "README.md").read_text()))

    monkeypatch.setattr("transformers.trainer.hf_api", Hub)
    monkeypatch.setattr(FocusTrainer, "init_hf_repo", lambda self, **_: setattr(self, "hub_model_id", "me/mine"))
    output = train(read_recipe(recipe_at(folder, "run"), ["arguments.push_to_hub=true"]))
    card = (output / "README.md").read_text()
    assert "8 steps; at the end loss" in card
    assert uploads == [("End of training", card)]


@pytest.mark.parametrize("written", ["5e-4", "5.0e-4", "0.0005"])
def test_numbers_may_be_written_as_people_do(folder: Path, written: str) -> None:
    assert read_recipe(recipe_at(folder, "run"), [f"arguments.learning_rate={written}"]).arguments == {
        "learning_rate": 5e-4, "save_steps": 3, "logging_steps": 1, "disable_tqdm": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("focus.chunk_size=3", ConfigurationError, "Unknown settings.*chunk_size.* in focus"),
        ("base=nothing", InputError, "cannot be loaded"),
        ("steps=0", ConfigurationError, "`steps`"),
        ("draws.supervision=some", ConfigurationError, "'all' or 'last'"),
        ("data=[{kind: books}]", ConfigurationError, "must be one of"),
        ("draws=[{until: 0.5}, {until: 0.2}]", ConfigurationError, "rising `until`"),
        ("data=[]", ConfigurationError, "`data` is empty"),
        ("arguments.learning_rat=1", ConfigurationError, "learning_rat"),
        ("arguments.per_device_train_batch_size=4", ConfigurationError, "cannot be set"),
        ("row_dtype=int8", ConfigurationError, "row_dtype"),
        ("focus={static_prompt: [5], candidate_refresh: 0}", ConfigurationError, r"`candidate_refreshes` .* to \[0\]"),
        ("steps", ConfigurationError, "NAME=VALUE"),
        ("data=[{kind: continuation, files: none-*.txt}]", InputError, "No file matches"),
        ("data=[{kind: records, files: text/a.txt}]", InputError, "line 1, is not JSON"),
        ("data=[{kind: records}]", ConfigurationError, "`records` need"),
        ("data=[{kind: facts, files: a.txt, dataset: b}]", ConfigurationError, "not both"),
        ("data=[{kind: facts, subset: en}]", ConfigurationError, "no `dataset`"),
        ("data=[{kind: facts, split: test}]", ConfigurationError, "`split` is 'test', but no `dataset`"),
        ("data=[{kind: facts, max_supervised: 3}]", ConfigurationError, "`max_supervised` is 3, but .* as a whole"),
        ("data=[{kind: records, files: long.jsonl}]", WindowError, "Record 1 has a prompt of 9000 tokens"),
        ("data=[{kind: facts, limit: 0}]", ConfigurationError, "`limit`"),
        ("seed=abc", ConfigurationError, "`seed` must be a whole number; got 'abc'"),
        ("seed=-1", ConfigurationError, "`seed` must be a whole number from 0"),
        ("base=5", ConfigurationError, "`base` must be a text; got 5"),
        ("output=[a]", ConfigurationError, "`output` must be a text"),
        ("adapter=5", ConfigurationError, "`adapter` must be a text or left out; got 5"),
        ("steps=1.5", ConfigurationError, "`steps` must be a whole number; got 1.5"),
        ("steps=true", ConfigurationError, "`steps` must be a whole number; got True"),
        ("folder=/", ConfigurationError, "Unknown settings.*'folder'"),
        ("data=5", ConfigurationError, "by name in data"),
        ("draws=few", ConfigurationError, "by name in draws"),
        ("data={share: 2}", ConfigurationError, "Data lacks `kind`"),
        ("data=[{kind: facts, share: .nan}]", ConfigurationError, "`share` must be a number; got nan"),
        ("data=[{kind: facts, files: 3}]", ConfigurationError, "`files` must be a text or a list of texts or left out"),
        ('draws.early_cut="a"', ConfigurationError, "`early_cut` must be a number; got 'a'"),
        ("draws.chunk_lengths=abc", ConfigurationError, "`chunk_lengths` must be a list of whole numbers; got 'abc'"),
        ("draws.chunk_lengths=[a]", ConfigurationError, "`chunk_lengths` must be a list of whole numbers"),
        ("draws={1: 2, b: 3}", ConfigurationError, "Unknown settings"),
        ("arguments=[a]", ConfigurationError, "`arguments` must be settings by name"),
        ("arguments={1: 2}", ConfigurationError, "`arguments` must be settings by name"),
        ("arguments.lr_scheduler_type=foo", ConfigurationError, "foo is not a valid SchedulerType"),
        ("arguments.lr_scheduler_type=5", ConfigurationError, "5 is not a valid SchedulerType"),
        ("arguments.learning_rate=abc", ConfigurationError, "`learning_rate` must be a number; got 'abc'"),
        ("arguments.bf16=yes", ConfigurationError, "`bf16` must be true or false; got 'yes'"),
        ("arguments.logging_steps=a", ConfigurationError, "`logging_steps` must be a number; got 'a'"),
        ("arguments.learning_rate=-1", ConfigurationError, "`learning_rate` in `arguments` must be 0 or more; got -1"),
        ("draws.row_tokens=0", ConfigurationError, "`row_tokens` of draws must be 1 or more; got 0"),
        ("draws.max_chunks=0", ConfigurationError, "`max_chunks` of draws must be 1 or more; got 0"),
        ("draws.max_sequences=0", ConfigurationError, "`max_sequences` of draws must be 1 or more; got 0"),
        ("draws.local_filler=-1", ConfigurationError, "`local_filler` of draws must be 0 or more; got -1"),
        ("draws.virtual_chunks=-1", ConfigurationError, "`virtual_chunks` of draws must be 0 or more; got -1"),
        ("draws.early_cut=-0.1", ConfigurationError, "`early_cut` and `late_cut` of draws must be chances"),
        ("draws.late_cut=0.9", ConfigurationError, "add up to 1 at most; got 0.2 and 0.9"),
        ("draws=[{until: 0}, {}]", ConfigurationError, "`until` of draws must be above 0"),
        ("draws.chunk_lengths=[600]", WindowError, "600 tokens .* window has 512"),
        ("draws.virtual_chunks=512", WindowError, "512 candidates .* window of 512"),
        ("data=[{kind: facts}, {kind: continuation, max_supervised: 200}]", WindowError, "context of 802 tokens"),
        ("data=[{kind: facts, max_supervised: 0}]", ConfigurationError, "`max_supervised` .* positive number; got 0"),
        ("data=[{kind: facts, files: []}]", ConfigurationError, "`files` of a data source is empty"),
        ("data=[{kind: facts, files: ''}]", ConfigurationError, "`files` of a data source is empty"),
        ("data=[{kind: facts, files: '**.txt'}]", InputError, "matches no names of files"),
        ("data=[{kind: facts, files: blank.jsonl}]", TrainingError, "nothing to hide facts in"),
        ("data=[{", ConfigurationError, "The value of an override is YAML"),
        ("arguments.eval_strategy=steps", ConfigurationError, "cannot be set"),
        ("arguments.save_only_model=true", ConfigurationError, "cannot be set"),
        ("arguments.ignore_data_skip=true", ConfigurationError, "cannot be set .* resumes a run, exactly"),
        ("arguments.data_seed=3", ConfigurationError, "cannot be set .* in the order in which they are drawn"),
        ("arguments.label_smoothing_factor=0.1", ConfigurationError, "cannot be set .* the loss is"),
        ("arguments.load_best_model_at_end=true", ConfigurationError, "cannot be set .* nothing is evaluated"),
        ("arguments.save_strategy=best", ConfigurationError, "cannot be 'best', since nothing is evaluated"),
        ("arguments.hub_token=hf_x", ConfigurationError, "no place for secrets"),
        ("arguments.hub_strategy=every_save", ConfigurationError, "uploaded once"),
        ("arguments.adam_beta2=2", ConfigurationError, "No optimizer or schedule .* beta parameter at index 1: 2"),
        ("arguments.lr_scheduler_kwargs={nope: 3}", ConfigurationError, "No optimizer or schedule .* 'nope'"),
        ("arguments.optim=lomo", MissingDependencyError, "`optim` in `arguments` asks for .* `lomo_optim`"),
        ("arguments.fsdp=full_shard", ConfigurationError, "Trainer refuses .* distributed training"),
        ("arguments.num_train_epochs=3", ConfigurationError, r"set \['steps'\] of the recipe"),
        ("arguments.output_dir=a", ConfigurationError, r"set \['output'\] of the recipe"),
        ("arguments.report_to=nothing", ConfigurationError, "`report_to` in `arguments` is unknown"),
        ("arguments.report_to=comet_ml", MissingDependencyError, "`report_to` in `arguments` needs"),
        ("arguments.gradient_accumulation_steps=0", ConfigurationError, "`gradient_accumulation_steps`"),
        ("arguments.save_total_limit=1", ConfigurationError, "`save_total_limit` .* must be 2 or more"),
    ],
)
def test_mistakes_in_a_recipe_are_one_sentence(folder: Path, override: str, error: type[Exception], words: str) -> None:
    (folder / "blank.jsonl").write_text('{"text": " "}\n')
    (folder / "long.jsonl").write_text(json.dumps({"prompt": "x" * 9000, "completion": "y"}))
    path = recipe_at(folder, "run")
    with pytest.raises(error, match=words):
        train(read_recipe(path, [override]))


def test_two_runs_do_not_write_one_folder(folder: Path) -> None:
    recipe = read_recipe(recipe_at(folder, "run"), ["steps=1"])
    (folder / "run").mkdir()
    with held(folder / "run"), pytest.raises(TrainingError, match="Another process is training"):
        train(recipe)
    assert not list((folder / "run").iterdir())
    assert (train(recipe) / WEIGHTS_NAME).exists()


def test_no_is_a_text_and_true_is_not(folder: Path) -> None:
    path = recipe_at(folder, "run")
    path.write_text(path.read_text().replace("save_steps: 3", "save_strategy: no, bf16: true, use_cpu: False"))
    arguments = read_recipe(path, ["arguments.logging_strategy=no"]).arguments
    chosen = ("save_strategy", "logging_strategy", "bf16", "use_cpu")
    assert [arguments[name] for name in chosen] == ["no", "no", True, False]


def test_facts_are_hidden_in_text_without_line_breaks(folder: Path) -> None:
    (folder / "one-line.txt").write_text("word " * 5000 + "x" * 1000)
    recipe = read_recipe(recipe_at(folder, "run"), ["data={kind: facts, files: one-line.txt}", "draws.row_tokens=600"])
    drawer = make_drawer(recipe, tiny_tokenizer())
    sizes = [sum(map(len, one.chunks)) for seed in range(20) for one in drawer.draw(random.Random(seed))]
    assert max(sizes) < 2000


def test_a_recipe_made_in_python_is_that_of_the_file(folder: Path) -> None:
    path = recipe_at(folder, "run")
    values = yaml.safe_load(path.read_text())
    assert Recipe.from_dict({**values, "output": Path(values["output"])}, folder) == read_recipe(path)
    with pytest.raises(ConfigurationError, match="The recipe lacks `output`"):
        Recipe.from_dict({"base": "bundled"})


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    first = train(read_recipe(recipe_at(folder, "run"), ["output=~/first", "steps=1"]))
    assert first == folder / "first"
    second = read_recipe(recipe_at(folder, "run"), ["base=~/base", "adapter=~/first", "steps=1"])
    assert losses(train(second)) != losses(first)
    assert not (folder / "~").exists()


def test_the_bundled_adapter_can_be_trained_on(folder: Path) -> None:
    names = ["base=bundled", "adapter=bundled", "focus={}", "steps=1", "arguments.learning_rate=0.0"]
    unchanged = train(read_recipe(recipe_at(folder, "further"), names))
    bundled, found = (load_file(path / WEIGHTS_NAME) for path in (ADAPTER_PATH, unchanged))
    assert all(torch.equal(weight.float(), found[name]) for name, weight in bundled.items())


def test_an_adapter_to_start_from_may_be_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(read_recipe(recipe_at(folder, "first"), ["steps=1"]))
    asked: list[str] = []

    def fetch(name: str, **_: object) -> str:
        asked.append(name)
        return str(first)

    monkeypatch.setattr(adapter_files, "snapshot_download", fetch)
    path = recipe_at(folder, "second")
    here = losses(train(read_recipe(path, ["adapter=first", "steps=1"])))
    fetched = losses(train(read_recipe(path, ["adapter=owner/first", "steps=1", f"output={folder / 'third'}"])))
    assert (fetched, asked) == (here, ["owner/first"])
    with pytest.raises(AdapterError, match="No adapter at"):
        train(read_recipe(path, ["adapter=frist", f"output={folder / 'fourth'}"]))


def test_a_recipe_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("b: 1\na: [}")
    with pytest.raises(InputError, match=r"not a YAML file: line 2, column 5: [^\n]*\.$"):
        read_recipe(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing yet")
    with pytest.raises(InputError, match="found nothing"):
        read_recipe(tmp_path / "empty.yaml")
    (tmp_path / "twice.yaml").write_text("base: x\ndata: {kind: facts}\nfocus: {rank: 2}\ndata: {kind: records}\n")
    with pytest.raises(InputError, match=r"\['data'\] are given twice"):
        read_recipe(tmp_path / "twice.yaml")
    (tmp_path / "short.yaml").write_text("base: x")
    with pytest.raises(ConfigurationError, match="lacks `output`"):
        read_recipe(tmp_path / "short.yaml")
