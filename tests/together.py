"""Processes that work together on one machine, without the seconds each would take to start."""

from collections.abc import Callable
from typing import Any

from torch import multiprocessing


def work_together(work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Call ``work(rank, *arguments)`` in so many processes, copies of one that has imported everything."""
    multiprocessing.set_forkserver_preload(["transformers.models.llama.modeling_llama", "focusllm.model"])
    multiprocessing.start_processes(work, arguments, nprocs=count, start_method="forkserver")
