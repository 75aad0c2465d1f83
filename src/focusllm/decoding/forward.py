"""The focus forward: the frozen base over local tokens, with candidates in front.

Source: paper, section 2.2, equation (5); candidates within sliding windows: ours.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from focusllm.condensing.attention import attention_of
from focusllm.condensing.families import candidates_in_sight, check_keeps_states, layer_windows
from focusllm.errors import ConfigurationError

# Positions that get scores. One would do, but a product with a single row takes another kernel, whose rounding
# differs from that of the base's own forward pass; with these many the scores are the same bit for bit.
_KEPT = 16
# Implementations of attention that cannot be given a mask of ours.
_WITHOUT_MASKS = ("flash", "flex", "paged")


def focus_forward(
    base: PreTrainedModel,
    token_ids: Int[Tensor, "rows new_tokens"],
    cache: Cache | None,
    num_candidates: int = 0,
    num_scores: int = 1,
    **options: Any,
) -> Float[Tensor, "rows scores vocab"]:
    """Run local tokens behind whatever the cache holds and return the scores of the tokens after the last ones.

    Args:
        base: The base model; candidate projections, if attached, stay closed.
        token_ids: Local tokens that are not in the cache yet.
        cache: Candidates at positions 0 to k-1, then local tokens; it grows by the new ones. ``None`` runs the
            base as it is.
        num_candidates: How many candidates the cache holds; layers with sliding windows see them from anywhere.
        num_scores: Behind how many of the new tokens scores are wanted.
        **options: Handed on to the base's attention.

    Raises:
        ConfigurationError: Candidates would slide out of a window, and the base's attention takes no mask.
        StateError: The base keeps no keys and values; see :func:`check_keeps_states`.
    """
    if cache is not None:
        check_keeps_states(base)
    held = 0 if cache is None else cache.get_seq_length()
    positions = torch.arange(held, held + token_ids.shape[1], device=token_ids.device).expand(token_ids.shape)
    call: Any = base
    with candidates_in_sight(base, num_candidates):
        return call(
            input_ids=token_ids,
            attention_mask=_masks(base, positions, held + token_ids.shape[1], num_candidates),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=max(_KEPT, num_scores),
            **options,
        ).logits[:, -num_scores:]


def _masks(
    base: PreTrainedModel, positions: Int[Tensor, "rows new_tokens"], total: int, num_candidates: int
) -> Tensor | dict[str, Tensor] | None:
    """Return masks that keep candidates visible in sliding windows; ``None`` where none would slide out of one."""
    window = next((window for window in layer_windows(base) if window is not None), None)
    if not num_candidates or window is None or total <= window:
        return None
    if any(name in attention_of(base) for name in _WITHOUT_MASKS):
        raise ConfigurationError(
            f"This base sees {window} tokens back in some layers, and candidates would slide out of sight; its "
            f"attention ({attention_of(base)!r}) takes no mask that keeps them. Load it with "
            f"`attn_implementation='sdpa'`."
        )
    keys = torch.arange(total, device=positions.device)
    is_before = keys <= positions.unsqueeze(-1)
    is_near = (keys > positions.unsqueeze(-1) - window) | (keys < num_candidates)
    full, sliding = (_additive(allowed, base.dtype) for allowed in (is_before, is_before & is_near))
    kinds = getattr(base.config, "layer_types", None)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(allowed: Tensor, dtype: torch.dtype) -> Float[Tensor, "rows 1 new_tokens all"]:
    """Return a mask in the form that every implementation adds to its scores."""
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=allowed.device)
    return torch.where(allowed, torch.zeros_like(hidden), hidden).unsqueeze(1)
