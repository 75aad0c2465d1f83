"""What a result was made with: versions, commit, hardware."""

import platform
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
    # A package that is only installed within somebody's checkout is no part of it.
    return _git("rev-parse", "HEAD") if _git("ls-files", "--error-unmatch", "__init__.py") else None


def _git(*arguments: str) -> str | None:
    """Return what git says of the folder of this file; ``None`` where it is not there or objects."""
    try:
        ran = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def hardware(device: torch.device | str) -> str:
    """Name the processor, how many threads are used, and the device."""
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else str(place)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {name}"
