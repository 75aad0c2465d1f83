"""Files that appear whole or not at all, and the checksums that tell damage."""

import json
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

# Bytes that are read at once where a file need not fit memory.
_PIECE = 1 << 22


@contextmanager
def written_atomically(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there once it is written and on disk.

    Args:
        path: Where the file shall be.
        mode: Who may read and write it.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        # Nobody has asked for the temporary file: the message names the one that cannot be there.
        error.filename = str(path)
        raise
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


def opened_lines(path: Path, header: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the first of a file's JSON lines, which says what it is, and the others; start it with a header if new.

    A line whose writing was cut short is passed over; it is still there, for the file may be something else.

    Raises:
        ValueError: It does not hold JSON lines.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if not text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(header) + "\n")
        return header, []
    found, *records = (json.loads(line) for line in text.split("\n")[:-1])
    return found, records


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append a JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


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


def file_checksum(path: Path) -> str:
    """Return the checksum of a file of any size; see :func:`checksum`."""
    found = xxhash.xxh3_128()
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            found.update(data)
    return found.hexdigest()


def ids_checksum(token_ids: Sequence[int]) -> str:
    """Return the checksum of some token ids."""
    return checksum(array("I", token_ids).tobytes())


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder for the ``with`` block, where the system can; gives ``False`` if another one holds it."""
    if os.name != "posix":
        yield True
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        # What holds it is the open folder: a process that is killed lets go, too.
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
