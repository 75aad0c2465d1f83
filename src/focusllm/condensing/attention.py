"""Attention of a few new tokens over the long keys and values of their chunk. Source: ours.

transformers repeats keys and values for every group of heads that share them, in new memory. Over what a chunk
holds already, that copy costs more than the attention itself; here the heads of a group are queries side by side
instead. The kernel is the same and so, from two new tokens on, is every bit of the result.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from focusllm.condensing.families import family_of

_GROUPED_ATTENTION = "focus_grouped"
# The implementation it is the same as, and stands in for.
_STANDS_FOR = "sdpa"


def attention_of(base: PreTrainedModel) -> str:
    """Return the implementation by which a base computes its attention."""
    return str(base.config._attn_implementation)


@contextmanager
def attention_by(base: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Let a base compute its attention by a registered implementation inside the ``with`` block."""
    config: Any = base.config
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


def behind_chunks(base: PreTrainedModel) -> str:
    """Return the implementation by which new tokens attend to what their chunk holds."""
    own = attention_of(base)
    return _GROUPED_ATTENTION if own == _STANDS_FOR and family_of(base).uses_interface else own


def scores_of(
    query: Float[Tensor, "... new head_dim"],
    key: Float[Tensor, "... all head_dim"],
    scaling: float,
    softcap: float | None,
    mask: Tensor | None,
) -> Float[Tensor, "... new all"]:
    """Return what goes into attention's softmax.

    Args:
        query: Queries.
        key: Keys.
        scaling: Of the products.
        softcap: Bounds the scores; ``None``: nothing does.
        mask: What may be seen: true there, or added to the scores; ``None``: all.
    """
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask


def _grouped_attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads new head_dim"],
    key: Float[Tensor, "rows kv_heads all head_dim"],
    value: Float[Tensor, "rows kv_heads all value_dim"],
    attention_mask: Bool[Tensor, "rows 1 new all"] | None,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Float[Tensor, "rows new heads value_dim"], None]:
    """Compute attention; the signature is transformers' attention interface."""
    groups = query.shape[1] // key.shape[1]
    together = query.unflatten(1, (-1, groups)).flatten(2, 3)
    # Rows of chunks hold equally many tokens: what one row's may see is what all rows' may.
    mask = None if attention_mask is None else attention_mask[:1].repeat(1, 1, groups, 1)
    out = nn.functional.scaled_dot_product_attention(together, key, value, attn_mask=mask, scale=scaling)
    return out.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2), None


AttentionInterface.register(_GROUPED_ATTENTION, _grouped_attention)
AttentionMaskInterface.register(_GROUPED_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS[_STANDS_FOR])
