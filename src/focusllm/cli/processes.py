"""Running under ``torchrun``: the processes of one command, of which only the first speaks."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from focusllm.errors import ConfigurationError


def num_processes() -> int:
    """Return how many processes ``torchrun`` has started for this command; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_first_process() -> bool:
    """Say whether this process is the one that speaks, of those ``torchrun`` has started or alone."""
    return num_processes() == 1 or os.environ["RANK"] == "0"


def check_alone() -> None:
    """Refuse to do the same work several times over.

    Raises:
        ConfigurationError: The command was started in several processes.
    """
    if num_processes() > 1:
        raise ConfigurationError(
            f"This command runs in one process and was started in {num_processes()}. Start it without torchrun; "
            f"`focusllm ask` and `focusllm train` can share their work among processes."
        )


@contextmanager
def shared_work(device: str | None) -> Iterator[dict[str, Any]]:
    """Join the processes of ``torchrun``, if it started this one, and give what a model needs to know of them.

    Processes other than the first say nothing on standard output.

    Args:
        device: The device the user asked for; ``None``: a GPU for each process, if there are GPUs.
    """
    if num_processes() == 1:
        yield {"device": device}
        return
    import torch
    from torch import distributed

    is_cuda = torch.cuda.is_available() if device is None else device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if is_cuda else "gloo")
    try:
        with _silent(distributed.get_rank() > 0):
            place = f"cuda:{os.environ['LOCAL_RANK']}" if is_cuda else "cpu"
            yield {"device": place, "process_group": distributed.group.WORLD}
    finally:
        distributed.destroy_process_group()


@contextmanager
def _silent(is_silent: bool) -> Iterator[None]:
    """Say nothing within the ``with`` block, if so asked; errors are still printed after it."""
    if not is_silent:
        yield
        return
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
