"""Compare training steps that supervise the last position, as the published code does, with steps that supervise more.

Same base, text, draws and hardware; what differs is how many positions behind the cut are supervised, each with a set
of candidates of its own.
"""

import argparse
import time
from pathlib import Path

from side_by_side import Figures, compare

WAYS = ("last", "16", "64", "256")
COLUMNS = {
    "supervised_per_second": ("supervised tokens a second", 1.0, 1),
    "seconds_per_step": ("seconds a step", 1.0, 2),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}


def train_steps(way: str, options: argparse.Namespace) -> Figures:
    """Train some steps on batches drawn beforehand."""
    import torch

    from focusllm.bundled.model import resolve_base
    from focusllm.cache.memory import peak_bytes
    from focusllm.condensing.attach import CandidateAdapter
    from focusllm.condensing.bases import bos_token_id_of, load_base
    from focusllm.training.batches import PackedBatches
    from focusllm.training.objective import FocusObjective
    from focusllm.training.recipe import make_drawer, read_recipe

    settings = ["draws.candidate_refreshes=[1]", "draws.early_cut=0", "draws.late_cut=0", "draws.virtual_chunks=0"]
    settings += [f"draws.chunk_lengths=[{options.chunk_length}]", f"draws.row_tokens={options.row_tokens}"]
    settings += [f"draws.supervision={'last' if way == 'last' else 'all'}"]
    longest = 64 if way == "last" else int(way)
    settings += [f"data=[{{kind: continuation, max_supervised: {longest}}}]", f"base={options.base}"]
    recipe = read_recipe(options.config, settings)
    base, tokenizer = load_base(resolve_base(recipe.base, Path()), torch.float32)
    adapter = CandidateAdapter(base, recipe.focus)
    drawer = make_drawer(recipe, tokenizer)
    batches = PackedBatches(drawer, recipe.focus, bos_token_id_of(base, tokenizer), options.steps + 1, seed=0)
    objective = FocusObjective(base, adapter, torch.bfloat16)
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=1e-4)
    supervised, seconds = 0, 0.0
    for step, batch in enumerate(batches[index] for index in range(len(batches))):
        started = time.perf_counter()
        with torch.autocast(base.device.type, torch.bfloat16, enabled=options.bf16):
            outcome = objective(batch)
        outcome.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        # What runs first is slower.
        if step:
            seconds += time.perf_counter() - started
            supervised += len(outcome.token_losses)
    return {
        "supervised_per_second": supervised / seconds,
        "seconds_per_step": seconds / options.steps,
        "peak_bytes": float(peak_bytes()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "recipes" / "tiny" / "adapter.yaml")
    parser.add_argument("--base", default="bundled")
    parser.add_argument("--steps", type=int, default=6, help="Steps that are timed.")
    parser.add_argument("--chunk-length", type=int, default=448)
    parser.add_argument("--row-tokens", type=int, default=8192)
    parser.add_argument("--bf16", action="store_true", help="Autocast what has gradients, too.")
    compare(parser, WAYS, train_steps, COLUMNS)
