"""Files that appear whole or not at all, and the checksums that tell damage."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash


@contextmanager
def written_atomically(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there once it is written and on disk.

    Args:
        path: Where the file shall be.
        mode: Who may read and write it.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file atomically."""
    with written_atomically(path, mode) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(path, text.encode("utf-8"), mode)


def drop_cut_line(path: Path) -> None:
    """Drop what stands behind a file's last line break: a line whose writing was cut short."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_bytes(path, whole)


def checksum(data: bytes) -> str:
    """Return the XXH3 checksum of some bytes: against accidents, not against malice."""
    return xxhash.xxh3_128_hexdigest(data)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
