"""What happens to disks and processes: no fault may change an answer, and none may end in a traceback."""

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_folder import TEXT, damage, scores, small_batches

from focusllm.errors import DocumentError

pytestmark = pytest.mark.slow


def test_two_thousand_damaged_folders(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path / "whole")
    wanted = scores(model, model.load_document(tmp_path / "whole"))
    rng = random.Random(1)
    outcomes = {"found": 0, "harmless": 0}
    for trial in range(2000):
        shutil.rmtree(tmp_path / "hurt", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "hurt")
        files = sorted((tmp_path / "hurt").iterdir())
        if trial % 10 == 0:
            first, second = rng.sample(files, 2)
            held = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(held)
        else:
            damage(rng, rng.choice(files))
        try:
            answer = scores(model, model.load_document(tmp_path / "hurt"))
        except DocumentError:
            outcomes["found"] += 1
        else:
            assert torch.equal(answer, wanted), trial
            outcomes["harmless"] += 1
    assert sum(outcomes.values()) == 2000
    assert outcomes["found"] > 1900


def in_child(work: Callable[[], Any]) -> int:
    """Run something in a forked process and return its exit status; 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def index_and_die(folder: Path, at: int) -> None:
    """Index, and vanish right before the file operation of that number, as after kill -9."""
    count = 0

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                os._exit(9)
            return operation(*arguments, **options)

        return run

    for name in ("fsync", "replace", "open", "close", "mkdir", "chmod", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    small_batches().index(TEXT, folder)


def check_and_repair(folder: Path) -> None:
    model = small_batches()
    wanted = scores(model, model.index(TEXT))
    with contextlib.suppress(DocumentError):
        assert torch.equal(scores(model, model.load_document(folder)), wanted)
    model.index(TEXT, folder)
    assert torch.equal(scores(model, model.load_document(folder)), wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_before_any_file_operation(tmp_path: Path) -> None:
    at, status = 0, 9
    while status == 9:
        at += 1
        folder = tmp_path / str(at)
        status = in_child(lambda folder=folder, at=at: index_and_die(folder, at))  # type: ignore[misc]
        assert status in (0, 9), at
        assert in_child(lambda folder=folder: check_and_repair(folder)) == 0, at  # type: ignore[misc]
    assert at > 20
