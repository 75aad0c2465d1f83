"""Attention of the packed training pass, plugged into the base through transformers' attention interface.

One flat sequence holds the candidates of all rows and then the local blocks. Each candidate attends to the
tokens of its own row before it, whose keys and values were made beforehand, and to itself; each local token
attends to one set of candidates and to the local tokens up to itself. That is block-sparse, and computed
block by block. Source: paper, equations (3) to (5); the sets: ours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from focusllm.cache.rotation import KeyMover
from focusllm.condensing.attention import scores_of
from focusllm.training.packing import PackedBatch

PACKED_ATTENTION = "focus_packed"


@dataclass(frozen=True)
class PackedLayout:
    """What the attention of every layer must know of a packed batch.

    Attributes:
        row_tensors: For each layer, keys and values of the rows, (rows, kv_heads, row, head_dim).
        candidate_mask: What each candidate may see of its row and of the row's candidates.
        local_bias: Added to the local tokens' scores over candidates and local tokens.
        slot_rows: The row in each slot; padding points at row 0 and is masked.
        key_shift: How far each candidate's key must be moved to its slot's position.
        mover: Moves keys.
        windows: For each layer, how many tokens back it sees; ``None``: all.
        candidate_gaps: How far in front of each candidate each token of its row stands.
    """

    row_tensors: list[tuple[Tensor, Tensor]]
    candidate_mask: Bool[Tensor, "rows 1 sets row_and_sets"]
    local_bias: Float[Tensor, "sequences 1 local candidates_and_local"]
    slot_rows: Int[Tensor, "sequences slots"]
    key_shift: Int[Tensor, "sequences candidates"]
    mover: KeyMover
    windows: list[int | None]
    candidate_gaps: Int[Tensor, "rows 1 sets row"]

    @property
    def num_rows_and_sets(self) -> tuple[int, int]:
        """How many rows there are, and how many candidate sets."""
        rows, _, sets, _ = self.candidate_mask.shape
        return rows, sets


def make_layout(
    batch: PackedBatch, row_tensors: list[tuple[Tensor, Tensor]], mover: KeyMover, windows: list[int | None]
) -> PackedLayout:
    """Derive the masks and shifts of a packed batch."""
    slot_rows = batch.slot_rows.clamp(min=0)
    positions = batch.candidate_positions[slot_rows]
    return PackedLayout(
        row_tensors=row_tensors,
        candidate_mask=_candidate_mask(batch),
        local_bias=_local_bias(batch),
        slot_rows=slot_rows,
        key_shift=(batch.slot_positions.unsqueeze(-1) - positions).flatten(1),
        mover=mover,
        windows=windows,
        candidate_gaps=_candidate_gaps(batch),
    )


def _candidate_gaps(batch: PackedBatch) -> Int[Tensor, "rows 1 sets row"]:
    row_places = torch.arange(batch.row_ids.shape[1], device=batch.row_ids.device)
    return (batch.candidate_positions.unsqueeze(-1) - row_places).unsqueeze(1)


def _candidate_mask(batch: PackedBatch) -> Bool[Tensor, "rows 1 sets row_and_sets"]:
    rows, sets = batch.candidate_ids.shape
    sees_itself = torch.eye(sets, dtype=torch.bool, device=batch.row_ids.device).expand(rows, 1, sets, sets)
    return torch.cat((_candidate_gaps(batch) > 0, sees_itself), dim=-1)


def _within(layout: PackedLayout, window: int | None) -> tuple[Tensor, Tensor]:
    """Return what candidates, and local tokens, may see in a layer with a window; candidates are always in sight."""
    mask, bias = layout.candidate_mask, layout.local_bias
    if window is None:
        return mask, bias
    row, local = layout.candidate_gaps.shape[-1], bias.shape[-2]
    near_row = nn.functional.pad(layout.candidate_gaps < window, (0, mask.shape[-1] - row), value=True)
    places = torch.arange(local, device=bias.device)
    is_far = nn.functional.pad(places[:, None] - places >= window, (bias.shape[-1] - local, 0), value=False)
    return mask & near_row, bias.masked_fill(is_far, -torch.inf)


def _local_bias(batch: PackedBatch) -> Float[Tensor, "sequences 1 local candidates_and_local"]:
    device = batch.row_ids.device
    local, sets = batch.local_ids.shape[1], batch.candidate_ids.shape[1]
    is_own_set = batch.local_sets.unsqueeze(-1) == torch.arange(sets, device=device)
    bias = torch.where(batch.is_slot_used, batch.slot_bias, -torch.inf)
    to_candidates = torch.where(is_own_set.unsqueeze(2), bias[:, None, :, None], -torch.inf).flatten(2)
    causal = torch.ones(local, local, dtype=torch.bool, device=device).tril()
    to_local = torch.where(causal, 0.0, -torch.inf).expand(bias.shape[0], local, local)
    return torch.cat((to_candidates, to_local), dim=-1).unsqueeze(1)


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens head_dim"],
    key: Float[Tensor, "1 kv_heads tokens head_dim"],
    value: Float[Tensor, "1 kv_heads tokens head_dim"],
    attention_mask: Tensor | None,
    *,
    scaling: float,
    focus_layout: PackedLayout,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads head_dim"], None]:
    """Compute attention over a packed batch; the signature is transformers' attention interface.

    ``softcap`` bounds scores (Gemma 2); ``s_aux`` holds each head's sink (gpt-oss).
    """
    kind = (scaling, softcap, s_aux)
    rows, sets = focus_layout.num_rows_and_sets
    split = rows * sets
    candidate_q, candidate_k, candidate_v = (_to_rows(states[:, :, :split], rows) for states in (query, key, value))
    layer: Any = module.layer_idx
    row_k, row_v = focus_layout.row_tensors[layer]
    candidate_mask, local_bias = _within(focus_layout, focus_layout.windows[layer])
    candidate_out = _attend(
        candidate_q,
        torch.cat((row_k.to(candidate_k.dtype), candidate_k), dim=2),
        torch.cat((row_v.to(candidate_v.dtype), candidate_v), dim=2),
        candidate_mask,
        *kind,
    )
    sequences = focus_layout.slot_rows.shape[0]
    local_q, local_k, local_v = (_to_rows(states[:, :, split:], sequences) for states in (query, key, value))
    moved_k = focus_layout.mover.move(layer, _by_sequence(candidate_k, focus_layout.slot_rows), focus_layout.key_shift)
    local_out = _attend(
        local_q,
        torch.cat((moved_k, local_k), dim=2),
        torch.cat((_by_sequence(candidate_v, focus_layout.slot_rows), local_v), dim=2),
        local_bias.to(local_q.dtype),
        *kind,
    )
    flat = [out.transpose(1, 2).flatten(0, 1).unsqueeze(0) for out in (candidate_out, local_out)]
    return torch.cat(flat, dim=1), None


def _to_rows(states: Float[Tensor, "1 heads tokens head_dim"], rows: int) -> Float[Tensor, "rows heads each head_dim"]:
    return states[0].unflatten(1, (rows, -1)).transpose(0, 1)


def _by_sequence(
    states: Float[Tensor, "rows kv_heads sets head_dim"], slot_rows: Int[Tensor, "sequences slots"]
) -> Float[Tensor, "sequences kv_heads candidates head_dim"]:
    """Put the candidates of each sequence's chunks side by side, slot by slot, set by set."""
    return states[slot_rows].transpose(1, 2).flatten(2, 3)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scaling: float,
    softcap: float | None,
    sinks: Float[Tensor, " heads"] | None,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) if groups > 1 else states for states in (key, value))
    if softcap is None and sinks is None:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    scores = scores_of(query, key, scaling, softcap, mask)
    if sinks is None:
        return scores.softmax(dim=-1) @ value
    # A sink takes its share of every token's attention and gives nothing.
    beside = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat((scores, beside), dim=-1).softmax(dim=-1)[..., :-1] @ value


def _no_mask(*_: Any, **__: Any) -> None:
    """Masks are the layout's business."""


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)
