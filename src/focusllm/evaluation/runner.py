"""Running a task over lengths and depths; every sample is a line of a file, and a run can be taken up again."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focusllm.errors import InputError
from focusllm.evaluation.systems import System
from focusllm.evaluation.tasks.sample import EvalSample, Task
from focusllm.files import append_line, ids_checksum, opened_lines
from focusllm.model import FocusModel
from focusllm.provenance import hardware, versions


@dataclass(frozen=True)
class Grid:
    """Which samples a run consists of.

    Attributes:
        lengths: Tokens of a sample.
        num_depths: Depths, evenly spread from the start of the text to its end.
        trials: Samples of each length; they take the depths in turn.
        seed: Seed of the run.
    """

    lengths: tuple[int, ...]
    num_depths: int = 10
    trials: int = 100
    seed: int = 0

    def cells(self) -> Iterator[tuple[int, float, int]]:
        """Yield length, depth and number of every sample."""
        for length in self.lengths:
            for trial in range(self.trials):
                yield length, (trial % self.num_depths) / max(self.num_depths - 1, 1), trial


def run_grid(
    task: Task,
    system: System,
    model: FocusModel,
    grid: Grid,
    output: Path,
    done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Run all samples of a grid that the output file does not hold yet.

    Args:
        task: The benchmark.
        system: What answers.
        model: Its tokenizer encodes the samples; its settings are recorded.
        grid: Which samples.
        output: File of JSON lines; the first says what the run is, each other one is a sample.
        done: Called with every record, old or new.

    Returns:
        The records of the grid's samples.

    Raises:
        InputError: The file holds another run.
    """
    return run_grids(task, {output: system}, model, grid, done)[output]


def run_grids(
    task: Task,
    systems: Mapping[Path, System],
    model: FocusModel,
    grid: Grid,
    done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[Path, list[dict[str, Any]]]:
    """Run a grid by several systems, sample by sample, each with an output file of its own; see :func:`run_grid`."""
    runs = {output: _read_run(output, _header(task, system, model, grid)) for output, system in systems.items()}
    for length, depth, trial in grid.cells():
        seed = f"{task.name}/{task.version}/{grid.seed}/{length}/{trial}"
        missing = [output for output, records in runs.items() if seed not in records]
        sample = task.draw(model.encode, length, depth, seed) if missing else None
        for output, records in runs.items():
            if sample is not None and output in missing:
                records[seed] = _run_sample(task, systems[output], sample, model, length)
                append_line(output, records[seed])
            done(records[seed])
    return {output: list(records.values()) for output, records in runs.items()}


def _run_sample(task: Task, system: System, sample: EvalSample, model: FocusModel, length: int) -> dict[str, Any]:
    started = time.perf_counter()
    output_ids = system.continue_ids(sample.prompt_ids, task.max_new_tokens)
    seconds = time.perf_counter() - started
    assert model.tokenizer is not None  # encode() has refused before
    output = str(model.tokenizer.decode(output_ids, skip_special_tokens=True))
    score = task.score(output, sample)
    return {
        "seed": sample.seed,
        "prompt_checksum": ids_checksum(sample.prompt_ids),
        "length": length,
        "depth": round(sample.depth, 4),
        "answer": sample.answer,
        "output": output,
        "score": round(score, 4),
        "is_right": score == 1,
        "seconds": round(seconds, 3),
    }


def _header(task: Task, system: System, model: FocusModel, grid: Grid) -> dict[str, Any]:
    return {
        "task": task.name,
        "task_version": task.version,
        "system": system.name,
        "seed": grid.seed,
        "num_depths": grid.num_depths,
        "config": system.config.to_dict(),
        "dtype": str(next(model.parameters()).dtype),
        "versions": versions(),
        "hardware": hardware(model.device),
    }


def _read_run(output: Path, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found, records = opened_lines(output, header)
    different = [
        name
        for name in ("task", "task_version", "system", "seed", "num_depths", "config")
        if found.get(name) != header[name]
    ]
    if different:
        raise InputError(f"{output} holds another run: {different} differ. Give another --output, or move the file.")
    return {record["seed"]: record for record in records}
