"""Chunks shared among processes: every process gets what one process alone would."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_focus import FOCUSED, LENGTHS, STEPS, decoded, sequences
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from tiny import SMALL, random_ids, tiny_model
from together import work_together

CONFIGS = {
    "paper": SMALL,
    "cached": replace(SMALL, local_refresh="cached", candidate_refresh=3),
    "focused": FOCUSED,
    "several": replace(FOCUSED, candidates_per_chunk=2),
}


def results(group: ProcessGroup | None) -> dict[str, Tensor]:
    found = {name: decoded(config, sequences(), STEPS, group) for name, config in CONFIGS.items()}
    model = tiny_model("llama", SMALL, group=group)
    # A single chunk, which leaves nothing for the others, and a sequence that fits the window.
    for length in (75, 20):
        found[f"{length} tokens"] = model(torch.tensor([random_ids(length)])).logits
    found["greedy"] = model.generate(torch.tensor([random_ids(150)]), max_new_tokens=5)
    # Every process has another seed of its own.
    torch.manual_seed(0 if group is None else distributed.get_rank(group))
    found["drawn"] = model.generate(torch.tensor([random_ids(150)]), max_new_tokens=5, do_sample=True)
    return found


def work(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
    save_file(results(distributed.group.WORLD), folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.parametrize("count", [2, 3])
def test_processes_that_share_chunks_equal_one_alone(count: int, tmp_path: Path) -> None:
    work_together(work, (count, tmp_path), count)
    alone = results(None)
    first, *others = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(count)]
    for name, expected in alone.items():
        for other in others:
            assert torch.equal(first[name], other[name]), name
        if name != "drawn":
            assert (first[name] - expected).abs().max() <= 1e-11, name
    assert len(LENGTHS) == len(alone["paper"])
