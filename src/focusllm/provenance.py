"""What a result was made with: versions, commit, hardware."""

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import torch
import transformers


def versions() -> dict[str, str | None]:
    """Return the versions of this package and of those below it, and the commit it was taken from."""
    return {
        "focusllm": metadata.version("focusllm"),
        "commit": commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def commit() -> str | None:
    """Return the commit of the checkout this package is in, if it is in one."""
    git = shutil.which("git")
    if git is None:
        return None
    # A package that is only installed within somebody's checkout is no part of it.
    asked = f"{git} ls-files --error-unmatch __init__.py && {git} rev-parse HEAD"
    ran = subprocess.run(asked, shell=True, cwd=Path(__file__).parent, capture_output=True, text=True)
    return ran.stdout.split()[-1] if ran.returncode == 0 else None


def hardware(device: torch.device | str) -> str:
    """Name the processor, how many threads are used, and the device."""
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else str(place)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {name}"
