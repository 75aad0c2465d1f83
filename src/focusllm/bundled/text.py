"""Real text that every Python installation carries, divided once into a training and an evaluation share.

The bundled model may only ever have seen the ``"train"`` share; demonstrations and evaluations draw
their haystacks and their vocabulary from ``"evaluation"``. Both sides ask this one module, so that the
two cannot overlap by accident.
"""

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

Share = Literal["train", "evaluation"]

_EXCLUDED_FOLDERS = {"site-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3", "encodings"}
_EVALUATION_PERCENT = 25


def share_of(name: str) -> Share:
    """Assign a file name or a word to its share, by a hash that is the same on every machine."""
    bucket = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100
    return "evaluation" if bucket < _EVALUATION_PERCENT else "train"


def installation_files(share: Share) -> list[Path]:
    """List the standard library's source files that belong to ``share``, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = [path.relative_to(root) for path in root.rglob("*.py")]
    kept = [path for path in found if not _EXCLUDED_FOLDERS.intersection(path.parts)]
    return [root / path for path in sorted(kept) if share_of(path.as_posix()) == share]


def installation_texts(share: Share) -> Iterator[str]:
    """Yield the text of each file of ``share``."""
    for path in installation_files(share):
        yield path.read_text(encoding="utf-8", errors="replace")


@cache
def installation_words(share: Share, minimum_count: int = 4) -> tuple[str, ...]:
    """Return the plain lower-case words of the installation's text that belong to ``share``.

    Words are counted over the files of both shares, because it is the words themselves that are
    divided: no word is in both lists.
    """
    counts: Counter[str] = Counter()
    for file_share in ("train", "evaluation"):
        for text in installation_texts(file_share):
            counts.update(re.findall(r"(?<![\w.])[a-z]{3,11}(?![\w.(=])", text))
    frequent = (word for word, count in counts.items() if count >= minimum_count)
    return tuple(sorted(word for word in frequent if share_of(word) == share))
