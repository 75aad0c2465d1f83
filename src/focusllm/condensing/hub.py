"""Names on the Hugging Face Hub, and its errors.

Source: huggingface_hub, in whose paths a revision stands behind ``@``, too.
"""

import re
from pathlib import Path

from huggingface_hub.constants import DEFAULT_REVISION

_WITH_REVISION = re.compile(r"((?:[\w.-]+/)?[\w.-]+)@(\S+)")


def split_revision(name: str) -> tuple[str, str]:
    """Divide a name such as ``owner/name@v2`` into what is on the Hub and its revision: a branch, tag or commit.

    Args:
        name: What a base, an adapter or a data set is called; a folder of that name is taken as it is.

    Returns:
        The name and the revision, which is the newest one where none is named.
    """
    found = None if Path(name).exists() else _WITH_REVISION.fullmatch(name)
    return (found[1], found[2]) if found else (name, DEFAULT_REVISION)


def with_revision(name: str, revision: str) -> str:
    """Put a name together again."""
    return name if revision == DEFAULT_REVISION else f"{name}@{revision}"


def reason_of(error: Exception) -> str:
    """Return what an error of the Hub, or of the way to it, says first: its advice is for those who call the Hub."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
