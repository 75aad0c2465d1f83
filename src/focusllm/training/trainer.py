"""The training loop: transformers' Trainer over packed batches."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import save_fsdp_optimizer
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import SCHEDULER_NAME

from focusllm.condensing.adapter_files import base_name_of, fingerprint_of, write_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.config import FocusConfig
from focusllm.errors import TrainingError
from focusllm.files import file_checksum, write_text
from focusllm.training.packing import PackedBatch
from focusllm.training.shards import whole
from focusllm.training.tally import Tally

_LOGGER = logging.getLogger(__name__)
LOG_NAME = "loss.jsonl"
COMPLETE_NAME = "complete.json"


class FocusTrainer(Trainer):
    """Trains candidate projections; checkpoints hold the adapter and what resuming needs, never the base.

    Args:
        adapter: The projections under training.
        config: The method's settings, saved with them.
        kinds: The kind of each source of the data, for the log.
        **kwargs: As for ``transformers.Trainer``; ``model`` is a :class:`FocusObjective`.
    """

    def __init__(self, *, adapter: CandidateAdapter, config: FocusConfig, kinds: Sequence[str], **kwargs: Any) -> None:
        super().__init__(data_collator=lambda batches: {"batch": batches[0]}, **kwargs)
        self._adapter = adapter
        self._focus_config = config
        base = kwargs["model"].base
        # Later its weights may be divided among processes.
        self._base_identity = base_name_of(base), fingerprint_of(base)
        self._tally = Tally(kinds, self.args.device)
        self.add_callback(_CompleteMarker())

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # Every batch is drawn from a seed of its own; their order is part of the run.
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"batch": inputs["batch"].to(self.args.device)}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Run the packed pass; what it says is gathered for the log."""
        batch: PackedBatch = inputs["batch"]
        result = model(batch)
        self._tally.add(batch, result)
        return (result.loss, result) if return_outputs else result.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was gathered to the Trainer's own figures, and append all of them to the loss log."""
        if not self._tally.is_empty and "loss" in logs:
            reduce: Any = self.accelerator.reduce
            logs = {**logs, **self._tally.entry(reduce)}
        if self.is_world_process_zero():
            path = Path(self.args.output_dir) / LOG_NAME  # type: ignore[arg-type]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.state.global_step, "time": time.time(), **logs}) + "\n")
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter; what is divided among processes is put together, and of the base nothing is written.

        Raises:
            TrainingError: It holds numbers that are not finite, and so would every later one; or there is no room.
        """
        tensors = whole(self._adapter.parameters())
        if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
            raise TrainingError(
                f"Training has diverged: {len(broken)} of {len(tensors)} tensors of the adapter hold numbers that are "
                f"not finite at step {self.state.global_step}, so it is not written. Checkpoints from before are kept "
                f"in {self.args.output_dir}; begin anew, in another `output`, with a lower `learning_rate`."
            )
        if self.args.should_save:
            folder = output_dir or str(self.args.output_dir)
            with _written_or_said(folder):
                write_adapter(folder, tensors, self._focus_config, *self._base_identity)

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """Do nothing: the card says how the adapter was made, and the Trainer would write its own over it."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with _written_or_said(self.args.output_dir):
            super()._save_checkpoint(model, trial)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        engine: Any = self.model_wrapped
        if self.is_deepspeed_enabled:
            # The same method leaves the frozen base out.
            engine.save_checkpoint = partial(type(engine).save_checkpoint, engine, exclude_frozen_parameters=True)
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        # The Trainer's own way writes the base, too.
        plugin = self.accelerator.state.fsdp_plugin
        save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, output_dir)
        if self.args.should_save:
            scheduler: Any = self.lr_scheduler
            torch.save(scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Do nothing: the adapter was filled before it was wrapped, and divided among processes."""


@contextmanager
def _written_or_said(folder: str | None) -> Iterator[None]:
    """Raise one error for what cannot be written: a full disk is one of its own kind to each of those who write."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"{folder} cannot be written: {error}. Make room there, or give another `output`; the same command goes on "
            f"from the newest complete checkpoint."
        ) from error


class _CompleteMarker(TrainerCallback):
    """Marks a checkpoint as complete once all its files are written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Every process writes something of its own.
        PartialState().wait_for_everyone()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"  # type: ignore[arg-type]
        if state.is_world_process_zero and folder.is_dir():
            files = [path for path in folder.rglob("*") if path.is_file()]
            checksums = {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}
            write_text(folder / COMPLETE_NAME, json.dumps(checksums))


def cut_log(folder: Path, step: int) -> None:
    """Drop from a run's log what will be logged again, going on from a step, and a line that was cut short.

    What will be logged again are later steps, and the sum of a run that was at its end.

    Raises:
        TrainingError: A line in the middle is none of the log's.
    """
    log = folder / LOG_NAME
    if log.exists():
        lines = log.read_text(encoding="utf-8").split("\n")[:-1]
        write_text(log, "".join(f"{line}\n" for line in lines if _is_kept(line, step, log)))


def _is_kept(line: str, step: int, log: Path) -> bool:
    try:
        figures = json.loads(line)
        return figures["step"] <= step and "train_runtime" not in figures
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(
            f"{log} holds a line that was not logged there: {line[:80]!r}. Take it out, or move the file away, and "
            f"start again: training goes on from the newest checkpoint."
        ) from error


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])


def newest_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Return the newest checkpoint whose files are all there and whole, or ``None``.

    A run that was cut while it wrote a checkpoint leaves one without its marker, which is written last and holds a
    checksum of every file; such a one, and one that was damaged, is passed over for the one before, with a warning.
    """
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    for folder in sorted(folders, key=step_of, reverse=True):
        damage = _damage(folder)
        if damage is None:
            return folder
        _LOGGER.warning("%s is passed over: %s. Training goes on from the one before, if there is one.", folder, damage)
    return None


def _damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint; ``None``: nothing."""
    try:
        checksums: dict[str, str] = json.loads((folder / COMPLETE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "it was not written to its end"
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return f"its {COMPLETE_NAME} is damaged"
    if not isinstance(checksums, dict) or not checksums:
        return f"its {COMPLETE_NAME} is damaged"
    for name, expected in checksums.items():
        try:
            found = file_checksum(folder / name)
        except OSError:
            return f"its {name} is missing"
        if found != expected:
            return f"its {name} is damaged"
    return None


def seed_everything(seed: int) -> None:
    """Seed PyTorch, so that new low-rank parameters are the same in every run."""
    torch.manual_seed(seed)
