"""Compare ways of reading one long document, side by side in one run: time, ratio to the first, peak memory.

Each way runs in a process of its own, so that its peak memory is its own; rounds alternate between the ways,
because machines are noisy and only what ran close together compares.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS: dict[str, dict[str, Any]] = {
    "recompute (paper)": {},
    "cached local": {"local_refresh": "cached"},
    "cached local and candidates once": {"local_refresh": "cached", "candidate_refresh": 0},
    "recompute with one chunk at a time": {"max_parallel_chunks": 1},
    "recompute in float32": {"dtype": "float32"},
}


def read_once(way: str, num_tokens: int, new_tokens: int) -> dict[str, float]:
    """Read a document and decode some tokens; return seconds and peak bytes."""
    import torch

    from focusllm import FocusModel
    from focusllm.cli.progress import Stopwatch, peak_memory_bytes
    from focusllm.evaluation.tasks.passkey import Passkey

    settings = dict(WAYS[way])
    dtype, at_once = settings.pop("dtype", "auto"), settings.pop("max_parallel_chunks", None)
    model = FocusModel.from_pretrained(config=settings, dtype=dtype, max_parallel_chunks=at_once)
    ids = torch.tensor([Passkey().draw(model.encode, num_tokens, 0.5, "bench").prompt_ids])
    watch = Stopwatch()
    started = time.perf_counter()
    # The stopwatch is a streamer: its first event is the prompt, the second the first new token.
    model.generate(ids, max_new_tokens=new_tokens, eos_token_ids=(), streamer=watch)
    return {
        "seconds": time.perf_counter() - started,
        "first_token": watch.times[1],
        "each_next": (watch.times[-1] - watch.times[1]) / (new_tokens - 1),
        "peak_bytes": float(peak_memory_bytes()),
    }


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64_000)
    parser.add_argument("--new-tokens", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS), help="Names separated by commas.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(read_once(options.one, options.tokens, options.new_tokens)))
        return
    results: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways.split(",")}
    for _ in range(options.rounds):
        for way, runs in results.items():
            command = [sys.executable, str(Path(__file__)), "--one", way]
            command += ["--tokens", str(options.tokens), "--new-tokens", str(options.new_tokens)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    print_table(results, options.tokens)


def print_table(results: dict[str, list[dict[str, float]]], num_tokens: int) -> None:
    """Print medians, and ratios to the first way."""
    medians = {
        way: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for way, runs in results.items()
    }
    first = next(iter(medians.values()))
    print(f"{num_tokens:,} tokens, medians of {len(next(iter(results.values())))} rounds\n")
    print("| way | to first token, s | each next, s | ratio to first token | ratio each next | peak memory, GB |")
    print("|---|---|---|---|---|---|")
    for way, median in medians.items():
        print(
            f"| {way} | {median['first_token']:.2f} | {median['each_next']:.3f} "
            f"| {median['first_token'] / first['first_token']:.2f} | {median['each_next'] / first['each_next']:.2f} "
            f"| {median['peak_bytes'] / 1e9:.2f} |"
        )


if __name__ == "__main__":
    main()
