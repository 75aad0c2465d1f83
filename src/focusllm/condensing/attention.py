"""Attention of a few new tokens over the long keys and values of their chunk. Source: ours.

transformers repeats keys and values for every group of heads that share them, in new memory. Over what a chunk
holds already, that copy costs more than the attention itself; here the heads of a group are queries side by side
instead. The kernel is the same and so, from two new tokens on, is every bit of the result.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from focusllm.condensing.families import family_of
from focusllm.errors import ConfigurationError

_GROUPED_ATTENTION = "focus_grouped"
# The same for rows that are padded, each in its own way.
_PADDED_ATTENTION = "focus_grouped_padded"
# The implementation it is the same as, and stands in for.
_STANDS_FOR = "sdpa"
# Ours, and those that read what only continuous batching prepares.
_NOT_FOR_BASES = (_GROUPED_ATTENTION, "paged|")


def check_attention(implementation: Any) -> None:
    """Refuse what is no implementation of attention that models of transformers' can be loaded with here.

    Args:
        implementation: Its name; ``None`` leaves the choice to transformers.

    Raises:
        ConfigurationError: It is unknown, or for continuous batching only. Kernels on the Hub are code, which is never
            fetched.
    """
    registered = AttentionInterface().valid_keys()
    known = ["eager", *(name for name in registered if not name.startswith(_NOT_FOR_BASES))]
    if implementation is not None and implementation not in known:
        raise ConfigurationError(
            f"`attn_implementation` must be one that is registered with transformers: {', '.join(map(repr, known))}; "
            f"got {implementation!r}."
        )


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


def behind_chunks(base: PreTrainedModel, is_padded: bool) -> str:
    """Return the implementation by which new tokens attend to what their chunk holds, padded or not."""
    own = attention_of(base)
    if own != _STANDS_FOR or not family_of(base).uses_interface:
        return own
    return _PADDED_ATTENTION if is_padded else _GROUPED_ATTENTION


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
    is_padded: bool = False,
    **_: Any,
) -> tuple[Float[Tensor, "rows new heads value_dim"], None]:
    """Compute attention; the signature is transformers' attention interface."""
    groups = query.shape[1] // key.shape[1]
    together = query.unflatten(1, (-1, groups)).flatten(2, 3)
    mask = attention_mask
    if mask is not None:
        # Rows that hold equally many tokens may all see what the first one's may.
        mask = (mask if is_padded else mask[:1]).repeat(1, 1, groups, 1)
    out = nn.functional.scaled_dot_product_attention(together, key, value, attn_mask=mask, scale=scaling)
    return out.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2), None


AttentionInterface.register(_GROUPED_ATTENTION, _grouped_attention)
AttentionInterface.register(_PADDED_ATTENTION, partial(_grouped_attention, is_padded=True))
for _name in (_GROUPED_ATTENTION, _PADDED_ATTENTION):
    AttentionMaskInterface.register(_name, ALL_MASK_ATTENTION_FUNCTIONS[_STANDS_FOR])
