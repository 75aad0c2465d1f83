"""Shared set-up: no network, quiet libraries, one thread a test process; shapes of tensors are checked."""

import os
import tempfile
from pathlib import Path

os.environ["FOCUSLLM_CACHE"] = tempfile.mkdtemp(prefix="focusllm-tests-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import pytest
import torch

SOURCE = Path(__file__).parents[1] / "src"


def with_shapes() -> list[str]:
    """Return the modules that say what shapes their functions take and give.

    Only they are checked: what a check adds to every call of every other function took half of all tests' time.
    """
    modules = (path for path in SOURCE.rglob("*.py") if "jaxtyping" in path.read_text())
    return [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in modules]


# Before any test imports them.
jaxtyping.install_import_hook(with_shapes(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
