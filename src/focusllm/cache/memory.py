"""How much memory is free, and how much was taken."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

# Where Linux keeps its control groups, and says which ones this process is in.
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can still be had on a device; on the CPU, within the limits of containers and jobs."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min((psutil.virtual_memory().available, *_left_by_groups()))


def peak_bytes() -> int:
    """Return the most memory this process has held: of the GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        figures: Any = psutil.Process().memory_info()
        return figures.peak_wset
    import resource

    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _left_by_groups() -> Iterator[int]:
    """Yield the bytes that each control group (version 2) this process is in leaves it, where there is a limit."""
    lines = _OWN_GROUPS.read_text().splitlines() if _OWN_GROUPS.exists() else []
    for name in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        parts = Path(name).parts
        for group in (_GROUPS.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)):
            try:
                limit, taken = ((group / file).read_text().strip() for file in ("memory.max", "memory.current"))
                # What was read from files and not lately used makes room when it is needed.
                figures = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            except OSError:
                continue
            if limit != "max":
                yield max(int(limit) - int(taken) + int(figures["inactive_file"]), 0)
