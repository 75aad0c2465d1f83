"""Training in two processes is training in one with the same global batch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import CONFIG, EXAMPLES, packed
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from focusllm.condensing.families import layers_of
from focusllm.training.objective import FocusObjective
from focusllm.training.packing import PackedBatch
from focusllm.training.recipe import read_recipe
from focusllm.training.run import train
from focusllm.training.shards import whole
from tiny import save_tiny_base, tiny_model
from together import work_together

STEPS = 4
RECIPE = """
base: {folder}/base
output: {folder}/{name}
steps: 4
focus: {{chunk_length: 24, local_length: 16, dynamic_prompt_length: 8}}
draws: {{chunk_lengths: [64, 128, 256], row_tokens: 600}}
data: [{{kind: continuation}}]
arguments: {{learning_rate: 1.0e-2, logging_steps: 1, save_steps: 2, disable_tqdm: true, use_cpu: true}}
"""


def figures(run: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines if "loss" in line]


def launched(*command: str | Path) -> str:
    """Run a command of Python's, and return what it said."""
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def recipe_of(folder: Path, name: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(folder=folder, name=name))
    return str(path)


def hold_together_to_alone(folder: Path, program: Sequence[str | Path], *overrides: str) -> Path:
    """Train in two processes, and in one that gathers two batches a step; return the checkpoint of the first."""
    save_tiny_base(folder / "base")
    train(read_recipe(recipe_of(folder, "alone"), ["arguments.gradient_accumulation_steps=2"]))
    said = launched(*program, "train", "--config", recipe_of(folder, "together"), *overrides)
    assert said.count("The adapter is in") == 1
    alone, together = figures(folder / "alone"), figures(folder / "together")
    assert len(alone) == STEPS
    assert together == [pytest.approx(values, rel=1e-5) for values in alone]
    assert_same_weights(folder / "alone", folder / "together")
    return folder / "together" / "checkpoint-4"


def assert_same_weights(*runs: Path) -> None:
    weights = [load_file(run / "adapter_model.safetensors") for run in runs]
    for name, value in weights[0].items():
        assert (value - weights[1][name]).abs().max() <= 1e-5, name


DRIVER = Path(__file__).parents[1] / "accelerate_driver.py"
PRESETS = Path(__file__).parents[2] / "recipes"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "focusllm")
ACCELERATE = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0", "--config_file")


def test_torchrun_trains_what_one_process_trains(tmp_path: Path) -> None:
    """DDP: two processes with a batch each, against one that gathers two batches a step."""
    checkpoint = hold_together_to_alone(tmp_path, TORCHRUN)
    # Both processes' generators, and the mark that it is whole, are in the checkpoint.
    kept = {path.name for path in checkpoint.iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "complete.json"} <= kept


LAUNCHES: dict[str, tuple[Sequence[str | Path], str | None]] = {
    "accelerate, DDP": ((*ACCELERATE, PRESETS / "accelerate" / "ddp.yaml", "-m", "focusllm"), None),
    "accelerate, FSDP2": ((*ACCELERATE, PRESETS / "accelerate" / "fsdp2.yaml", DRIVER), None),
    "DeepSpeed, ZeRO-2": (TORCHRUN, "zero2.json"),
    "DeepSpeed, ZeRO-2 with offload": (TORCHRUN, "zero2-offload.json"),
    "DeepSpeed, ZeRO-3": (TORCHRUN, "zero3.json"),
}


def deepspeed_overrides(folder: Path, preset: str | None) -> list[str]:
    """Write a preset for a tiny model on a CPU, and name it as a recipe does."""
    if preset is None:
        return []
    settings = json.loads((PRESETS / "deepspeed" / preset).read_text())
    # Parameters of fewer numbers than this would not be divided.
    settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    # DeepSpeed's own optimizer for CPUs takes minutes to compile; PyTorch's does the same.
    settings["zero_force_ds_cpu_optimizer"] = False
    path = folder / preset
    path.write_text(json.dumps(settings))
    return [f"arguments.deepspeed={path}"]


# Files that hold weights or moments of what is trained, in the checkpoint of each.
TRAINED_ALONE = ("*.safetensors", "optimizer.*", "global_step*/*", "*.bin")


@pytest.mark.slow
@pytest.mark.parametrize("way", LAUNCHES)
def test_other_ways_of_launching_train_the_same_and_go_on(way: str, tmp_path: Path) -> None:
    if "DeepSpeed" in way:
        pytest.importorskip("deepspeed")
    program, preset = LAUNCHES[way]
    overrides = deepspeed_overrides(tmp_path, preset)
    checkpoint = hold_together_to_alone(tmp_path, program, *overrides)
    wanted = figures(tmp_path / "together")
    # No file holds the base: each is smaller than its weights are.
    base_bytes = (tmp_path / "base" / "model.safetensors").stat().st_size
    sizes = {path: path.stat().st_size for pattern in TRAINED_ALONE for path in checkpoint.glob(pattern)}
    assert len(sizes) > 1
    assert max(sizes.values()) < base_bytes
    shutil.rmtree(checkpoint)
    (tmp_path / "together" / "adapter_model.safetensors").unlink()
    launched(*program, "train", "--config", str(tmp_path / "together.yaml"), *overrides)
    assert figures(tmp_path / "together") == wanted + [pytest.approx(values, rel=1e-5) for values in wanted[2:]]
    assert_same_weights(tmp_path / "alone", tmp_path / "together")


def batches() -> list[PackedBatch]:
    return [packed(EXAMPLES[:2]), packed(EXAMPLES[1:])]


def trained(rank: int | None) -> dict[str, Tensor]:
    """Weights after some steps of SGD, and losses: of both batches in one process, or of its own in one of two."""
    model = tiny_model(config=CONFIG)
    objective = FocusObjective(model.base, model.adapter).train()
    if rank is not None:
        mesh = init_device_mesh("cpu", (2,))
        for layer in layers_of(model.base, model.adapter.family):
            fully_shard(layer, mesh=mesh)
        fully_shard(objective, mesh=mesh)
    own = batches() if rank is None else [batches()[rank]]
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(STEPS):
        results = [objective(batch).loss for batch in own]
        torch.stack(results).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(torch.stack(results).detach().mean())
    return {"losses": torch.stack(losses), **whole(model.adapter.parameters())}


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    save_file(trained(rank), folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


def test_sharded_parameters_train_as_whole_ones(tmp_path: Path) -> None:
    """FSDP2: base and adapter in shards, layer by layer."""
    work_together(work, (tmp_path,), 2)
    together = [load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1)]
    alone = trained(None)
    assert alone["losses"][-1] < alone["losses"][0] - 1e-3
    assert (torch.stack([one.pop("losses") for one in together]).mean(dim=0) - alone.pop("losses")).abs().max() <= 1e-5
    # Each process puts the whole adapter together.
    for one in together:
        assert one.keys() == alone.keys()
        assert all((value - alone[name]).abs().max() <= 1e-5 for name, value in one.items())
