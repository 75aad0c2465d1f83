"""What questions put behind chunks that lie in a folder, on disk as well until the next token. Source: ours."""

import os
import weakref
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO

from safetensors.torch import load, save

from focusllm.cache.homes import LayerTensors
from focusllm.documents.shards import states_of, tensors_of


class SpillFile:
    """A file without a name, which only this process can read, and which is gone with it however it ends.

    Args:
        folder: Where it takes its room; if nothing can be written there, it is where temporary files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The next chunks are read while those in use are put back.
        self._turns = Lock()
        self._end = 0
        # By their size, the places that nothing is kept at any more.
        self._free: defaultdict[int, list[int]] = defaultdict(list)

    @cached_property
    def _file(self) -> IO[bytes]:
        file = TemporaryFile(dir=self._folder if os.access(self._folder, os.W_OK) else None)  # noqa: SIM115
        weakref.finalize(self, file.close)
        return file

    def put(self, layers: LayerTensors) -> "Spilled":
        """Copy keys and values to the file, where they stay as long as what is returned."""
        data = save(tensors_of(layers))
        # An answer's tokens come one at a time: with sizes rounded up, most find the place they had before.
        size = 1 << len(data).bit_length()
        if self._free[size]:
            start = self._free[size].pop()
        else:
            start, self._end = self._end, self._end + size
        with self._turns:
            self._file.seek(start)
            self._file.write(data)
        kept = Spilled(self, start, len(data))
        weakref.finalize(kept, self._free[size].append, start)
        return kept

    def read(self, start: int, num_bytes: int) -> bytes:
        """Return what was put at a place."""
        with self._turns:
            self._file.seek(start)
            return self._file.read(num_bytes)


@dataclass(frozen=True)
class Spilled:
    """Keys and values in a spill file, from a place on."""

    file: SpillFile
    start: int
    num_bytes: int

    def parts(self) -> Iterator[LayerTensors]:
        """Read keys and values of each layer."""
        yield states_of(load(self.file.read(self.start, self.num_bytes)))
