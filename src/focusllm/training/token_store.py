"""Token ids of a corpus: made once, kept in a file, four bytes a token. Source: ours."""

import json
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from focusllm.files import checksum, written_atomically

_LOG = logging.getLogger(__name__)
# Goes up whenever the same text would be turned into other tokens, or files are laid out in another way.
_VERSION = 2


class TokenSequences:
    """Many sequences of token ids, one behind the other in one array.

    Args:
        tokens: All ids.
        ends: Where each sequence ends in it.
    """

    def __init__(self, tokens: Sequence[int] | np.ndarray, ends: Sequence[int] | np.ndarray) -> None:
        self._tokens = np.asarray(tokens, dtype=np.uint32)
        self._ends = np.asarray(ends, dtype=np.int64)

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> "TokenSequences":
        """Put sequences into one array."""
        tokens, ends = array("I"), array("q")
        for sequence in sequences:
            tokens.extend(sequence)
            ends.append(len(tokens))
        return cls(np.frombuffer(tokens, dtype=np.uint32), np.frombuffer(ends, dtype=np.int64))

    @property
    def lengths(self) -> list[int]:
        """The length of each sequence."""
        return np.diff(self._ends, prepend=0).tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> list[int]:
        start = int(self._ends[number - 1]) if number else 0
        return self._tokens[start : int(self._ends[number])].tolist()

    @cached_property
    def checksum(self) -> str:
        """A checksum of ids and ends."""
        return checksum(f"{checksum(self._tokens.tobytes())} {checksum(self._ends.tobytes())}".encode())

    def save(self, path: Path) -> None:
        """Write the ids to a file that only its owner can read: they are as confidential as their text."""
        with written_atomically(path, mode=0o600) as temporary:
            save_file({"tokens": self._tokens, "ends": self._ends}, temporary, {"checksum": self.checksum})

    @classmethod
    def load(cls, path: Path) -> "TokenSequences":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            SafetensorError: It is damaged.
        """
        with safe_open(path, "numpy") as file:
            found = cls(file.get_tensor("tokens"), file.get_tensor("ends"))
            if (file.metadata() or {}).get("checksum") != found.checksum:
                raise SafetensorError(f"{path} is damaged.")
        return found


def stored(identity: Mapping[str, Any], make: Callable[[], Iterable[Sequence[int]]]) -> TokenSequences:
    """Return the sequences that belong to an identity, made unless an earlier run has kept them.

    They are kept under ``$FOCUSLLM_CACHE``, or ``~/.cache/focusllm``; whoever removes files there, or has no room,
    loses time only.

    Args:
        identity: Everything the ids depend on, as plain values.
        make: Makes them.
    """
    key = checksum(json.dumps({**identity, "version": _VERSION}, sort_keys=True).encode())
    path = _cache_folder() / "tokens" / f"{key}.safetensors"
    try:
        return TokenSequences.load(path)
    except (FileNotFoundError, SafetensorError):
        sequences = TokenSequences.of(_shown(make()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sequences.save(path)
    except (OSError, SafetensorError) as error:
        _LOG.warning("Tokens cannot be kept in %s, so that the next run makes them again: %s.", path.parent, error)
    return sequences


def _shown(sequences: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
    """Show how far it is, where it takes a while."""
    yield from tqdm(sequences, desc="Tokenizing", unit=" texts", delay=2, leave=False)


def _cache_folder() -> Path:
    return Path(os.environ.get("FOCUSLLM_CACHE") or "~/.cache/focusllm").expanduser()
