"""``focusllm lm-eval``, as it is typed: local tasks, no network, and the results file says what the model says."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from focusllm import FocusModel
from tiny import save_tiny_base

pytest.importorskip("lm_eval")

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
doc_to_text: "{{{{text}}}} What happened?"
output_type: {kind}
"""
CHOICE = """
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
WRITING = """
doc_to_target: nothing
generation_kwargs: {until: [], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
"""
DOCUMENTS = [
    {
        "text": "".join(f"In the year {1000 + n * count} nothing of note happened. " for n in range(count)),
        "choices": ["nothing", "a war", "peace"],
        "answer": count % 3,
    }
    for count in (3, 14, 15)
]


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness would write its log to what is standard error now to the end of the process."""
    logger = logging.getLogger("lm_eval")
    for name, value in (("handlers", [*logger.handlers]), ("propagate", logger.propagate), ("level", logger.level)):
        monkeypatch.setattr(logger, name, value)


def score(model: FocusModel, context: str, choice: str) -> float:
    """Decode a choice step by step."""
    state, total = model.prefill(torch.tensor([model.encode(context)])), 0.0
    for token in model.encode(f" {choice}"):
        total += float(state.logits[0].log_softmax(-1)[token])
        state = model.step(state, torch.tensor([token]))
    return total


def test_a_local_task_by_the_command(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "home")
    assert datasets.config.HF_HUB_OFFLINE
    base, tasks, data = save_tiny_base(tmp_path / "base"), tmp_path / "tasks", tmp_path / "documents.jsonl"
    tasks.mkdir()
    data.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    (tasks / "choice.yaml").write_text(TASK.format(name="choice", data=data, kind="multiple_choice") + CHOICE)
    (tasks / "writing.yaml").write_text(TASK.format(name="writing", data=data, kind="generate_until") + WRITING)
    arguments = (
        f"lm-eval --model focusllm --model_args base={base},chunk_length=100,local_length=64,dtype=float32 --tasks "
        f"choice,writing --include_path {tasks} --output_path {tmp_path}/results --log_samples --device cpu"
    )
    run = command(*arguments.split())
    assert run.status == 0, run.err
    assert "|choice " in run.out
    [found] = (tmp_path / "results").glob("*/results_*.json")
    results = json.loads(found.read_text())
    assert results["config"]["focusllm_config"]["chunk_length"] == 100
    samples = {task: read_samples(found.parent, task) for task in ("choice", "writing")}

    model = FocusModel.from_pretrained(base, config={"chunk_length": 100, "local_length": 64}, device="cpu")
    right = 0
    for document, chosen, written in zip(DOCUMENTS, samples["choice"], samples["writing"], strict=True):
        context = f"{document['text']} What happened?"
        wanted = [score(model, context, choice) for choice in document["choices"]]
        assert [float(total) for total, _ in chosen["filtered_resps"]] == pytest.approx(wanted, abs=1e-3)
        right += wanted.index(max(wanted)) == document["answer"]
        ids = torch.tensor([model.encode(context)])
        new: Any = model.generate(ids, max_new_tokens=6)[0, ids.shape[1] :]  # type: ignore[index]
        assert written["filtered_resps"] == [model.tokenizer.decode(new, skip_special_tokens=True)]  # type: ignore[union-attr]
    assert results["results"]["choice"]["acc,none"] == pytest.approx(right / 3)
    lengths = [len(model.encode(document["text"])) for document in DOCUMENTS]
    assert min(lengths) < model.window < max(lengths)


def read_samples(folder: Path, task: str) -> list[dict[str, Any]]:
    [path] = folder.glob(f"samples_{task}_*.jsonl")
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda sample: sample["doc_id"])


def test_a_task_that_the_harness_does_not_have_is_one_sentence(command) -> None:
    run = command("lm-eval", "--model", "focusllm", "--tasks", "hellaswag,no_such_task")
    assert run.status == 1
    [said] = [line for line in run.err.splitlines() if line.startswith("Error: ")]
    assert "Tasks not found: no_such_task" in said
    assert "lm-eval ls tasks" in said
