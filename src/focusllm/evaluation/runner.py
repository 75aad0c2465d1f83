"""Running samples through systems; every sample is a line of a file, and a run can be taken up again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from focusllm.errors import ConfigurationError, InputError
from focusllm.evaluation.cells import Cell, Suite
from focusllm.evaluation.ending import Ending
from focusllm.evaluation.resuming import alone_in, identity_of, opened_run
from focusllm.evaluation.systems import System
from focusllm.evaluation.tasks.sample import Encode, EvalSample, Task
from focusllm.files import append_line, ids_checksum
from focusllm.model import FocusModel
from focusllm.provenance import hardware, versions
from focusllm.questions import worded_conversation


@dataclass(frozen=True)
class Grid:
    """Which samples a run consists of.

    Attributes:
        lengths: Tokens of a sample.
        num_depths: Depths, evenly spread from the start of the text to its end.
        trials: Samples of each length; they take the depths in turn.
        seed: Seed of the run.

    Raises:
        ConfigurationError: There are no lengths, or a number is less than 1.
    """

    lengths: tuple[int, ...]
    num_depths: int = 10
    trials: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lengths or min(*self.lengths, self.num_depths, self.trials) < 1:
            raise ConfigurationError(
                f"Lengths, depths and trials must be at least 1, and at least one length; got {list(self.lengths)}, "
                f"{self.num_depths} and {self.trials}."
            )

    def cells(self) -> Iterator[tuple[int, float, int]]:
        """Yield length, depth and number of every sample."""
        for length in self.lengths:
            for trial in range(self.trials):
                yield length, (trial % self.num_depths) / max(self.num_depths - 1, 1), trial


@dataclass(frozen=True)
class GridSuite:
    """A generated task over a grid.

    Attributes:
        task: The benchmark.
        grid: Which samples.
    """

    task: Task
    grid: Grid

    @property
    def header(self) -> dict[str, Any]:
        """What the samples depend on."""
        return {
            "task": self.task.name,
            "task_version": self.task.version,
            "seed": self.grid.seed,
            "num_depths": self.grid.num_depths,
        }

    @property
    def work(self) -> int:
        """The tokens of all samples."""
        return sum(self.grid.lengths) * self.grid.trials

    def work_of(self, record: Mapping[str, Any]) -> int:
        """Return the tokens of a sample."""
        return record["length"]

    def cells(self) -> Iterator[Cell]:
        """Yield the samples, length by length."""
        for length, depth, trial in self.grid.cells():
            seed = f"{self.task.name}/{self.task.version}/{self.grid.seed}/{length}/{trial}"
            draw = partial(self.task.draw, num_tokens=length, depth=depth, seed=seed)
            told = {"length": length, "depth": round(depth, 4)}
            scored = self.task.score, self.task.max_new_tokens
            yield Cell(seed, draw, *scored, told=told, stays_right=self.task.stays_right)


def run_grid(
    task: Task,
    system: System,
    model: FocusModel,
    grid: Grid,
    output: Path,
) -> list[dict[str, Any]]:
    """Run a generated task over a grid; see :func:`run_suite`."""
    return run_suite(GridSuite(task, grid), {output: system}, model)[output]


def run_suite(suite: Suite, systems: Mapping[Path, System], model: FocusModel) -> dict[Path, list[dict[str, Any]]]:
    """Run the samples of one suite; see :func:`run_suites`."""
    return run_suites([(suite, systems)], model)


def run_suites(
    suites: Sequence[tuple[Suite, Mapping[Path, System]]],
    model: FocusModel,
    done: Callable[[Suite, dict[str, Any], bool], None] = lambda *_: None,
) -> dict[Path, list[dict[str, Any]]]:
    """Run all samples that the output files do not hold yet, sample by sample, by every system.

    Suites take turns, so that what is left to do is, at any time, like what was done.

    Args:
        suites: Which samples, and what answers, each with its output file: JSON lines, of which the first says what the
            run is, each other one is a sample.
        model: Its tokenizer encodes the samples; its settings are recorded.
        done: Called with every record, its suite before it, and whether it is new: what the file held already took no
            time.

    Returns:
        The records of each file.

    Raises:
        InputError: A file holds another run, samples of other data or with other prompts, or is being written.
    """
    with alone_in(output.parent for _, systems in suites for output in systems):
        # The same samples by the same system with the same settings; the rest may differ from one day to the next.
        free = ("versions", "hardware", "place")
        runs = {}
        for suite, systems in suites:
            for place, (output, system) in enumerate(systems.items()):
                together = {"place": place} if len(systems) > 1 else {}
                runs[output] = opened_run(output, {**_header(suite, system, model), **together}, "seed", free)
        for _ in zip_longest(*(_run_missing(*one, runs, model, done) for one in suites)):
            pass
    return {output: list(records.values()) for output, records in runs.items()}


def _run_missing(
    suite: Suite,
    systems: Mapping[Path, System],
    all_runs: Mapping[Path, dict[Any, dict[str, Any]]],
    model: FocusModel,
    done: Callable[[Suite, dict[str, Any], bool], None],
) -> Iterator[None]:
    """Run what is missing; after every sample, others may take their turn."""
    runs = {output: all_runs[output] for output in systems}
    # Of a run that goes on, one sample is drawn again: what the others would be drawn from must be what it was.
    are_alike = {output: not records for output, records in runs.items()}
    for cell in suite.cells():
        is_known = {output: cell.seed in records for output, records in runs.items()}
        is_wanted = any(not is_known[output] or not are_alike[output] for output in runs)
        sample = cell.draw(_encode_of(cell, model)) if is_wanted else None
        for output, records in runs.items():
            if sample is not None and not is_known[output]:
                records[cell.seed] = _run_sample(cell, systems[output], sample, model)
                append_line(output, records[cell.seed])
            elif sample is not None:
                _check_prompt(output, records[cell.seed], sample)
                are_alike[output] = True
            _check_same(output, cell, records[cell.seed])
            done(suite, records[cell.seed], not is_known[output])
        yield


def _encode_of(cell: Cell, model: FocusModel) -> Encode:
    if not cell.is_chat:
        return model.encode
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ConfigurationError("The model has no tokenizer, so it has no chat template: leave out --chat.")
    return lambda text: worded_conversation([{"role": "user", "content": text}], tokenizer)


def _run_sample(cell: Cell, system: System, sample: EvalSample, model: FocusModel) -> dict[str, Any]:
    tokenizer: Any = model.tokenizer  # encode() has refused before if there is none

    def text_of(new_ids: list[int]) -> str:
        return str(tokenizer.decode(new_ids, skip_special_tokens=True))

    def is_right(new_ids: list[int]) -> bool:
        return cell.score(text_of(new_ids), sample) == 1

    stops = tuple(model.encode(stop)[-1] for stop in cell.stops)
    ending = Ending(stops, cell.min_new_tokens, is_right if cell.stays_right else None)

    def written(prompt_ids: list[int], max_new_tokens: int) -> str:
        return text_of(system.continue_ids(prompt_ids, max_new_tokens, ending))

    started = time.perf_counter()
    prompt_ids, before = sample.prompt_ids, {}
    if cell.reasoning is not None:
        before["reasoning"] = written(prompt_ids, cell.reasoning.max_new_tokens)
        prompt_ids = _encode_of(cell, model)(cell.reasoning.ask(before["reasoning"]))
    output = written(prompt_ids, cell.max_new_tokens)
    seconds = time.perf_counter() - started
    score = cell.score(output, sample)
    return {
        "seed": sample.seed,
        "prompt_checksum": ids_checksum(sample.prompt_ids),
        "length": len(sample.prompt_ids),
        **cell.told,
        **before,
        "answer": sample.answer,
        "output": output,
        "score": round(score, 4),
        "is_right": score == 1,
        "seconds": round(seconds, 3),
    }


def _header(suite: Suite, system: System, model: FocusModel) -> dict[str, Any]:
    return {
        **suite.header,
        "system": system.name,
        "config": system.config.to_dict(),
        "model": identity_of(model),
        "dtype": str(next(model.parameters()).dtype),
        "versions": versions(),
        "hardware": hardware(model.device),
    }


def _check_prompt(output: Path, record: dict[str, Any], sample: EvalSample) -> None:
    found = ids_checksum(sample.prompt_ids)
    if record.get("prompt_checksum", found) != found:
        raise InputError(
            f"{output} holds sample {sample.seed} with another prompt: the tokenizer, its chat template or the Python "
            f"installation, whose files are the text of some tasks, has changed. Give another --output, or move the "
            f"file."
        )


def _check_same(output: Path, cell: Cell, record: dict[str, Any]) -> None:
    if different := [name for name, value in cell.told.items() if record.get(name) != value]:
        raise InputError(
            f"{output} holds sample {cell.seed} of other data: {different} differ. Give another --output, or move the "
            f"file."
        )
