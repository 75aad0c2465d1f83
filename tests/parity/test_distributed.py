"""Training in two processes is training in one with the same global batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import CONFIG, EXAMPLES, packed
from torch import Tensor, distributed, multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from focusllm.condensing.families import layers_of
from focusllm.training.objective import FocusObjective
from focusllm.training.packing import PackedBatch
from tiny import save_tiny_base, tiny_model

STEPS = 4
RECIPE = """
base: {folder}/base
output: {folder}/{name}
steps: 4
focus: {{chunk_length: 24, local_length: 16, dynamic_prompt_length: 8}}
draws: {{row_tokens: 600}}
data: [{{kind: continuation}}]
arguments: {{learning_rate: 1.0e-2, logging_steps: 1, save_steps: 2, disable_tqdm: true, use_cpu: true}}
"""


def figures(run: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines if "loss" in line]


def test_torchrun_trains_what_one_process_trains(tmp_path: Path) -> None:
    """DDP: two processes with a batch each, against one that gathers two batches a step."""
    save_tiny_base(tmp_path / "base")
    for name in ("alone", "together"):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(folder=tmp_path, name=name))
    train = ["-m", "focusllm", "train", "--config"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    commands = (
        [*train, f"{tmp_path}/alone.yaml", "arguments.gradient_accumulation_steps=2"],
        [*launch, *train, f"{tmp_path}/together.yaml"],
    )
    for command in commands:
        ran = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("The adapter is in") == 1
    alone, together = figures(tmp_path / "alone"), figures(tmp_path / "together")
    assert len(alone) == STEPS
    assert together == [pytest.approx(values, rel=1e-5) for values in alone]
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("alone", "together")]
    for name, value in weights[0].items():
        assert (value - weights[1][name]).abs().max() <= 1e-5, name
    # Both processes' generators, and the mark that it is whole, are in the checkpoint.
    kept = {path.name for path in (tmp_path / "together" / "checkpoint-4").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "complete.json"} <= kept


def batches() -> list[PackedBatch]:
    return [packed(EXAMPLES[:2]), packed(EXAMPLES[1:])]


def trained(rank: int | None) -> Tensor:
    """Losses of some steps of SGD: of both batches in one process, or of this process's own in one of two."""
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
    return torch.stack(losses)


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    save_file({"losses": trained(rank)}, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


def test_sharded_parameters_train_as_whole_ones(tmp_path: Path) -> None:
    """FSDP2: base and adapter in shards, layer by layer."""
    multiprocessing.start_processes(work, (tmp_path,), nprocs=2, start_method="spawn")
    together = torch.stack([load_file(tmp_path / f"{rank}.safetensors")["losses"] for rank in (0, 1)]).mean(dim=0)
    alone = trained(None)
    assert alone[-1] < alone[0] - 1e-3
    assert (together - alone).abs().max() <= 1e-5
