"""From padded batches, as users give them, to rows of tokens."""

from typing import Any

import torch
from torch import Tensor

from focusllm.chunking import check_vocabulary
from focusllm.errors import InputError

_WHOLE_NUMBERS = (torch.int64, torch.int32)


def unpadded_rows(input_ids: Any, attention_mask: Any, vocabulary: int) -> list[list[int]]:
    """Return the tokens of each sequence that are not padding, whichever side that is on.

    Args:
        input_ids: What the user gave as the batch's token ids, (batch, sequence).
        attention_mask: Zeros mark padding.
        vocabulary: How many tokens the base knows.

    Raises:
        InputError: The ids are not whole numbers of one or more sequences, one of them is beyond the vocabulary, or
            the mask has another shape.
    """
    is_tensor = isinstance(input_ids, Tensor)
    if not is_tensor or input_ids.ndim != 2 or not len(input_ids) or input_ids.dtype not in _WHOLE_NUMBERS:
        found = f"shape {tuple(input_ids.shape)} of {input_ids.dtype}" if is_tensor else type(input_ids).__name__
        raise InputError(
            f"`input_ids` must be a tensor of token ids, (batch, sequence), with one sequence or more; got {found}."
        )
    rows: list[list[int]] = input_ids.tolist()
    if attention_mask is not None:
        if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
            found = tuple(attention_mask.shape) if isinstance(attention_mask, Tensor) else type(attention_mask).__name__
            raise InputError(
                f"`attention_mask` must be a tensor in the shape of `input_ids`, {tuple(input_ids.shape)}; got {found}."
            )
        masks = attention_mask.tolist()
        rows = [
            [token for token, is_kept in zip(row, mask, strict=True) if is_kept]
            for row, mask in zip(rows, masks, strict=True)
        ]
    for row in rows:
        check_vocabulary(row, vocabulary)
    return rows
