"""Compare supervising every position with supervising the last one: same data, base, draws and time.

Each run trains for so many seconds of its process's time, which on one thread is what a clock would show on a machine
with nothing else to do; now and then the loss on the answers of held-out batches is measured, the same ones for all
runs. At the end passkeys are asked. Results are JSON lines, a table and a plot. Use one thread (OMP_NUM_THREADS=1).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import AutoTokenizer, TrainerCallback

from focusllm import FocusModel
from focusllm.evaluation.intervals import wilson_interval
from focusllm.evaluation.runner import Grid, run_grid
from focusllm.evaluation.systems import FocusSystem
from focusllm.evaluation.tasks.passkey import Passkey
from focusllm.training.batches import PackedBatches
from focusllm.training.packing import PackedBatch
from focusllm.training.recipe import Recipe, make_drawer, read_recipe
from focusllm.training.run import train

HELD_OUT_SEED = 987_654_321


class Clock(TrainerCallback):
    """Stops a run after so many seconds of training and measures held-out batches on the way."""

    def __init__(self, seconds: float, every: float, batches: Sequence[PackedBatch]) -> None:
        self._seconds, self._every, self._batches = seconds, every, batches
        self._trained, self._resumed = 0.0, time.process_time()
        self.points: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Look at the clock."""
        self._trained += time.process_time() - self._resumed
        if self._trained >= self._every * (len(self.points) + 1):
            with torch.no_grad():
                losses = torch.cat([model(batch).token_losses for batch in self._batches])
            self.points.append({"seconds": self._trained, "step": state.global_step, "loss": losses.mean().item()})
        control.should_training_stop = self._trained >= self._seconds
        self._resumed = time.process_time()


def run_one(recipe: Recipe, supervision: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one run."""
    stages = tuple(replace(stage, supervision=supervision) for stage in recipe.draws)
    output = options.output / f"{supervision}-{seed}"
    run = replace(recipe, draws=stages, seed=seed, output=str(output))
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    held_out = PackedBatches(
        make_drawer(recipe, tokenizer), recipe.focus, tokenizer.bos_token_id, options.batches, HELD_OUT_SEED
    )
    clock = Clock(options.seconds, options.every, [held_out[index] for index in range(len(held_out))])
    train(run, [clock])
    model = FocusModel.from_pretrained(recipe.base, output, config={"local_refresh": "cached"})
    grid = Grid((options.length,), num_depths=10, trials=options.trials, seed=seed)
    records = run_grid(Passkey(), FocusSystem(model), model, grid, output / "passkey.jsonl")
    right = sum(record["is_right"] for record in records)
    return {"supervision": supervision, "seed": seed, "points": clock.points, "right": right, "trials": len(records)}


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss on held-out answers against seconds of training."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colors = {"all": "tab:blue", "last": "tab:orange"}
    for result in results:
        seconds, losses = zip(*((point["seconds"], point["loss"]) for point in result["points"]), strict=True)
        label = result["supervision"] if result["seed"] == min(r["seed"] for r in results) else None
        axes.plot(seconds, losses, color=colors[result["supervision"]], label=label)
    axes.set_xlabel("seconds of training, one thread")
    axes.set_ylabel("loss on held-out answers, nats a token")
    axes.legend(title="supervised positions")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what the output folder does not hold yet, then sum up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="A recipe; its steps must outlast the clock.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("overrides", nargs="*", help="NAME=VALUE, as for focusllm train.")
    options = parser.parse_args()
    recipe = read_recipe(options.config, options.overrides)
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for seed in range(options.seeds):
        for supervision in ("all", "last"):
            if not any(r["seed"] == seed and r["supervision"] == supervision for r in results):
                results.append(run_one(recipe, supervision, seed, options))
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(results[-1]) + "\n")
    draw(results, options.output / "supervision.png")
    print(
        "| supervised | seed | steps | loss on held-out answers | passkey | 95% interval |\n|---|---|---|---|---|---|"
    )
    for result in results:
        low, high = wilson_interval(result["right"], result["trials"])
        last = result["points"][-1]
        print(
            f"| {result['supervision']} | {result['seed']} | {last['step']} | {last['loss']:.3f} "
            f"| {result['right']}/{result['trials']} | {low:.0%} to {high:.0%} |"
        )


if __name__ == "__main__":
    main()
