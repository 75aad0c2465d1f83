"""What users name as a document, before it is opened. Source: ours."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from torch import Tensor

from focusllm.chunking import check_vocabulary
from focusllm.documents.document import FocusDocument
from focusllm.errors import InputError

# What is read: text, the path of a text file, what was read before, or token ids in one row.
Source = str | Path | FocusDocument | Sequence[int] | Tensor
_NAMED = (str, Path, FocusDocument)


def listed_sources(given: Source | Sequence[Source]) -> list[Source]:
    """Return documents as a list, also where there is but one; a row of token ids is one document."""
    # Arrays of NumPy are known by what they share with tensors.
    is_row = hasattr(given, "tolist") or (
        isinstance(given, Sequence) and bool(given) and isinstance(given[0], Integral)
    )
    several: Any = given
    is_one = is_row or isinstance(given, _NAMED) or not isinstance(given, Sequence)
    return [several] if is_one else list(several)


def token_ids_of(given: Any, vocabulary: int) -> list[int]:
    """Return the token ids of a document that is given as them: a sequence, or a tensor or array of one dimension.

    Args:
        given: What was given.
        vocabulary: How many tokens the base knows.

    Raises:
        InputError: It is something else, or empty, or holds a token the base does not know.
    """
    values = given.tolist() if hasattr(given, "tolist") else given
    is_row = isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray)
    if not is_row or not all(isinstance(value, Integral) and not isinstance(value, bool) for value in values):
        raise InputError(
            f"A document is text, the path of a text file, an indexed document, or token ids in one row; "
            f"got {shortened(given)} ({type(given).__name__})."
        )
    if not values:
        raise InputError("The document is empty: there are no tokens in it.")
    token_ids = list(map(int, values))
    check_vocabulary(token_ids, vocabulary)
    return token_ids
