"""The focus forward: the frozen base over local tokens, with candidates in front.

Source: paper, section 2.2, equation (5).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

# Positions that get scores. One would do, but a product with a single row takes another kernel, whose rounding
# differs from that of the base's own forward pass; with these many the scores are the same bit for bit.
_KEPT = 16


def focus_forward(
    base: PreTrainedModel, token_ids: Int[Tensor, "rows new_tokens"], cache: Cache | None, **options: Any
) -> Float[Tensor, "rows vocab"]:
    """Run local tokens behind whatever the cache holds and return the scores of the next token.

    Args:
        base: The base model; candidate projections, if attached, stay closed.
        token_ids: Local tokens that are not in the cache yet.
        cache: Candidates at positions 0 to k-1, then local tokens; it grows by the new ones. ``None`` runs the
            base as it is.
        **options: Handed on to the base's attention.
    """
    held = 0 if cache is None else cache.get_seq_length()
    positions = torch.arange(held, held + token_ids.shape[1], device=token_ids.device).expand(token_ids.shape)
    call: Any = base
    return call(
        input_ids=token_ids,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=_KEPT,
        **options,
    ).logits[:, -1]
