"""Shared set-up: no network, quiet libraries, one thread a test process."""

import os
import tempfile

os.environ["FOCUSLLM_CACHE"] = tempfile.mkdtemp(prefix="focusllm-tests-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
