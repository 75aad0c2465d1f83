"""From padded batches, as users give them, to rows of tokens."""

from jaxtyping import Int
from torch import Tensor

from focusllm.errors import InputError


def unpadded_rows(input_ids: Int[Tensor, "batch sequence"], attention_mask: Tensor | None) -> list[list[int]]:
    """Return the tokens of each sequence that are not padding, whichever side that is on.

    Raises:
        InputError: The mask has another shape than the ids.
    """
    rows: list[list[int]] = input_ids.tolist()
    if attention_mask is None:
        return rows
    if attention_mask.shape != input_ids.shape:
        raise InputError(
            f"`attention_mask` must have the shape of `input_ids`, {tuple(input_ids.shape)}; "
            f"got {tuple(attention_mask.shape)}."
        )
    masks = attention_mask.tolist()
    return [
        [token for token, is_kept in zip(row, mask, strict=True) if is_kept]
        for row, mask in zip(rows, masks, strict=True)
    ]
