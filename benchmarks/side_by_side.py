"""Running ways of doing one thing side by side: each in a process of its own, in turns, with ratios to the first.

Peak memory is then each way's own, and only what ran close together is compared, because machines are noisy.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, float]


class Ticks:
    """A streamer that keeps the time of everything it is handed."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        """Keep the time."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to keep."""


def timed(decode: Callable[[Ticks], object]) -> Figures:
    """Time what decodes several tokens and hands them to a streamer: the first one, and each next one."""
    from focusllm.cache.memory import peak_bytes

    ticks = Ticks()
    started = time.perf_counter()
    decode(ticks)
    # A streamer is handed the prompt, and then token after token.
    first, last = ticks.times[1], ticks.times[-1]
    return {
        "first_token": first - started,
        "each_next": (last - first) / (len(ticks.times) - 2),
        "peak_bytes": float(peak_bytes()),
    }


def real_tokens(model: Any, count: int) -> list[int]:
    """Return so many tokens of real text, going round where it ends."""
    from focusllm.bundled.text import installation_texts

    token_ids = model.encode("".join(installation_texts("evaluation")))
    return (token_ids * (count // len(token_ids) + 1))[:count]


def compare(
    parser: argparse.ArgumentParser,
    ways: Sequence[str],
    measure: Callable[[str, argparse.Namespace], Figures],
    columns: Mapping[str, tuple[str, float, int]],
) -> dict[str, Figures]:
    """Run every way so many rounds, print medians with ratios to the first way, and write all figures as JSON.

    Args:
        parser: With the benchmark's own options; common ones are added.
        ways: Names of the ways.
        measure: Runs one way in this process and returns its figures.
        columns: For each figure its heading, the unit in terms of the figure, and the decimals shown.

    Returns:
        The medians of each way.
    """
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(ways), help="Names separated by commas.")
    parser.add_argument("--json", type=Path, help="File for all figures of all rounds.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        sys.exit()
    results: dict[str, list[Figures]] = {way: [] for way in options.ways.split(",")}
    for _ in range(options.rounds):
        for way, runs in results.items():
            done = subprocess.run([sys.executable, *sys.argv, "--one", way], capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    if options.json is not None:
        options.json.write_text(json.dumps({"command": sys.argv, "figures": results}, indent=1) + "\n")
    medians = {
        way: {name: statistics.median(run[name] for run in runs) for name in columns} for way, runs in results.items()
    }
    print(f"Medians of {options.rounds} rounds; in brackets the ratio to the first row.\n")
    _print_table(medians, columns)
    return medians


def _print_table(medians: Mapping[str, Figures], columns: Mapping[str, tuple[str, float, int]]) -> None:
    first = next(iter(medians.values()))
    print("| way | " + " | ".join(heading for heading, _, _ in columns.values()) + " |")
    print("|---|" + "---|" * len(columns))
    for way, median in medians.items():
        cells = [
            f"{median[name] / unit:,.{decimals}f} ({median[name] / first[name]:.2f})"
            for name, (_, unit, decimals) in columns.items()
        ]
        print(f"| {way} | " + " | ".join(cells) + " |")
