"""Free memory where the machine has more than this process may have."""

from pathlib import Path

import psutil
import pytest
import torch

from focusllm.cache import memory

MIB = 1 << 20


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's control groups, in which this process is in job/step."""
    (tmp_path / "own").write_text("4:memory:/elsewhere\n0::/job/step\n")
    (tmp_path / "groups" / "job" / "step").mkdir(parents=True)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def limit(group: Path, most: str, taken: int, files: int = 0) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{taken}\n")
    (group / "memory.stat").write_text(f"anon {taken - files}\ninactive_file {files}\n")


def free() -> int:
    return memory.free_bytes(torch.device("cpu"))


def test_the_machine_s_memory_is_free_without_limits(groups: Path) -> None:
    limit(groups / "job" / "step", "max", 30 * MIB)
    assert free() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_the_smallest_limit_holds(groups: Path) -> None:
    limit(groups / "job" / "step", str(90 * MIB), 30 * MIB)
    assert free() == 60 * MIB
    limit(groups / "job", str(100 * MIB), 60 * MIB)
    assert free() == 40 * MIB


def test_what_was_read_from_files_makes_room(groups: Path) -> None:
    limit(groups / "job" / "step", str(90 * MIB), 80 * MIB, files=50 * MIB)
    assert free() == 60 * MIB


def test_a_group_that_is_over_its_limit_has_nothing_left(groups: Path) -> None:
    limit(groups / "job" / "step", str(20 * MIB), 30 * MIB)
    assert free() == 0


def test_a_machine_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "none")
    assert free() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
