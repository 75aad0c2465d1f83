"""Ablations, as they are typed: what is trained, what is not trained twice, what the table says."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from focusllm.condensing.adapter_files import WEIGHTS_NAME
from tiny import save_tiny_base

RECIPE = """
base: base
output: unused
steps: 9
focus: {chunk_length: 100, local_length: 100, dynamic_prompt_length: 60}
draws:
  - {until: 0.5, chunk_lengths: [16, 32], row_tokens: 400, max_chunks: 4}
  - {chunk_lengths: [16, 32], row_tokens: 400, max_chunks: 6}
data: [{kind: facts, files: text.txt}]
arguments: {learning_rate: 1.0e-2, disable_tqdm: true}
"""
ABLATION = """
recipe: adapter.yaml
output: out
seeds: 2
train: {steps: 2}
decoding: {local_refresh: cached}
tasks: [passkey]
lengths: [900]
num_depths: 2
trials: 2
variants:
  whole:
  last position: {train: {draws.supervision: last}, seeds: 1}
  short chunks: {decoding: {chunk_length: 50}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_base(tmp_path / "base")
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 40)
    (tmp_path / "adapter.yaml").write_text(RECIPE)
    (tmp_path / "ablation.yaml").write_text(ABLATION)
    return tmp_path


def samples(folder: Path, variant: str, seed: int) -> tuple[dict, list[dict]]:
    path = folder / "out" / variant / f"seed-{seed}" / "passkey" / "samples.jsonl"
    header, *records = map(json.loads, path.read_text().splitlines())
    return header, records


def test_variants_are_trained_asked_alike_and_compared(command, folder: Path) -> None:
    run = command("eval", "ablate", "--config", folder / "ablation.yaml")
    assert run.status == 0, run.err
    adapters = {
        f"{path.parents[2].name}/{path.parents[1].name}": path
        for path in (folder / "out").glob(f"*/seed-*/adapter/{WEIGHTS_NAME}")
    }
    # A variant that only decodes in another way has no adapter of its own.
    assert set(adapters) == {"whole/seed-0", "whole/seed-1", "last position/seed-0"}
    first, *others = [load_file(path) for path in adapters.values()]
    assert not any(first[name].equal(other[name]) for name in first for other in others)
    recipe = json.loads((folder / "out/last position/seed-0/adapter/recipe.json").read_text())
    assert [stage["supervision"] for stage in recipe["draws"]] == ["last", "last"]
    assert recipe["steps"] == 2
    prompts = {
        tuple(record["prompt_checksum"] for record in samples(folder, variant, seed)[1])
        for variant, seed in (("whole", 0), ("whole", 1), ("last position", 0), ("short chunks", 1))
    }
    assert len(prompts) == 1
    configs = [samples(folder, variant, 0)[0]["config"] for variant in ("whole", "short chunks")]
    assert [(config["chunk_length"], config["local_refresh"]) for config in configs] == [
        (100, "cached"),
        (50, "cached"),
    ]
    rows = [line for line in run.out.splitlines() if line.startswith("| passkey")]
    assert [row.split(" | ")[2:4] for row in rows] == [["whole", "4"], ["last position", "2"], ["short chunks", "4"]]
    assert (folder / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert command("report", folder / "out", "-o", folder / "r.md").status == 0
    assert "last position, seed 0" in (folder / "r.md").read_text()

    written = {path: path.stat().st_mtime_ns for path in adapters.values()}
    again = command("ablate", "--config", folder / "ablation.yaml")
    assert run.out.endswith(again.out)
    assert {path: path.stat().st_mtime_ns for path in adapters.values()} == written
    (folder / "ablation.yaml").write_text(ABLATION.replace("steps: 2", "steps: 3"))
    changed = command("ablate", "--config", folder / "ablation.yaml")
    assert (changed.status, "begun with other settings" in changed.err) == (1, True)


@pytest.mark.parametrize(
    ("found", "wrong", "words"),
    [
        ("recipe: adapter.yaml", "recipe: none.yaml", "no recipe at"),
        ("recipe: adapter.yaml", "", "lacks `recipe`"),
        ("tasks: [passkey]", "tasks: [riddles]", "`tasks` must be some of"),
        ("  whole:\n", "  whole: 3\n", "given by name in variant 'whole'"),
        ("  whole:\n", "  whole: {name: other}\n", "Unknown settings ['name']"),
        ("trials: 2", "trials: two", "`trials` must be a whole number; got 'two'"),
        ("lengths: [900]", "lengths: 900", "`lengths` must be a list of whole numbers; got 900"),
        ("  whole:\n", "  a/b:\n", "names of folders"),
        ("draws.supervision: last", "draws.supervision: first", "`supervision` must be"),
        ("draws.supervision: last", "draws.1.virtual_chunks: 600", "Variant 'last position': 600 candidates"),
        ("draws.supervision: last", "draws.2.supervision: last", "has 2 entries, counted from 0; got 2"),
        ("draws.supervision: last", "steps.supervision: last", "has no settings by name"),
        ("{chunk_length: 50}", "{chunk_size: 50}", "chunk_size"),
        ("{chunk_length: 50}}", "{}, seeds: 3}", "at most as many as the first"),
        ("  whole:\n  last position: {train: {draws.supervision: last}, seeds: 1}\n", "", "two or more"),
        ("variants:", "variants: [1]\nvariant:", "by name"),
        ("trials: 2", "trial: 2", "Unknown settings ['trial']"),
    ],
)  # fmt: skip
def test_wrong_ablations_are_refused_before_anything_is_trained(command, folder, found, wrong, words) -> None:
    assert found in ABLATION
    (folder / "ablation.yaml").write_text(ABLATION.replace(found, wrong))
    run = command("ablate", "--config", folder / "ablation.yaml")
    assert (run.status, words in run.err) == (1, True), run.err
    assert not (folder / "out").exists()


def test_what_cannot_be_drawn_in_the_end_is_said_before_anything_is_trained(
    command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = command("ablate", "--config", folder / "ablation.yaml")
    assert (run.status, "pip install 'focusllm[plot]'" in run.err) == (1, True)
    assert not (folder / "out").exists()


def test_a_missing_ablation_is_said_to_be_missing(command, tmp_path: Path) -> None:
    run = command("ablate", "--config", tmp_path / "none.yaml")
    assert (run.status, "no ablation at" in run.err) == (1, True)
