"""Attention of the packed training pass, plugged into the base through transformers' attention interface.

What goes through the base is flat: first, without gradients, the tokens of all rows; then the candidates of all rows
and behind them the local blocks. Row tokens attend within their row. Each candidate attends to the tokens of its own
row before it, whose keys and values were kept, and to itself; each local token attends to one set of candidates and
to the local tokens up to itself. That is block-sparse, and computed block by block; padding is in the blocks alone.
Source: paper, equations (3) to (5); the sets: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from focusllm.cache.rotation import KeyMover
from focusllm.condensing.attention import scores_of
from focusllm.training.blocks import Blocks
from focusllm.training.packing import PackedBatch

PACKED_ATTENTION = "focus_packed"


@dataclass(frozen=True)
class Scoring:
    """How a layer makes shares of attention out of products.

    Attributes:
        scaling: Of the products.
        softcap: Bounds scores (Gemma 2); ``None``: nothing does.
        sinks: Each head's sink (gpt-oss), which takes its share of every token's attention and gives nothing.
    """

    scaling: float
    softcap: float | None
    sinks: Float[Tensor, " heads"] | None


@runtime_checkable
class Layout(Protocol):
    """What the attention of every layer must know of a flat sequence."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "tokens heads head_dim"],
        key: Float[Tensor, "tokens kv_heads head_dim"],
        value: Float[Tensor, "tokens kv_heads head_dim"],
        scoring: Scoring,
    ) -> Float[Tensor, "tokens heads head_dim"]:
        """Compute a layer's attention."""
        ...


class RowLayout:
    """The tokens of rows, end to end; each attends to its row up to itself.

    Args:
        batch: The packed batch.
        windows: For each layer, how many tokens back it sees; ``None``: all.

    Attributes:
        kept: For each layer that has run, the keys and values of all row tokens, (row_tokens, kv_heads, head_dim).
    """

    def __init__(self, batch: PackedBatch, windows: Sequence[int | None]) -> None:
        self._blocks = Blocks(batch.row_numbers, len(batch.row_sequences))
        self._windows = windows
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Compute a layer's attention, and keep its keys and values."""
        self.kept[layer] = (key, value)
        window = self._windows[layer]
        near = None if window is None else _is_behind(self._blocks.width, window, query.device)
        spread = [self._blocks.spread(states) for states in (query, key, value)]
        return self._blocks.join(_attend(*spread, near, scoring))


class BlockLayout:
    """Candidates and local blocks, row by row and sequence by sequence.

    Args:
        batch: The packed batch.
        rows: For each layer, keys and values of all row tokens, (row_tokens, kv_heads, head_dim).
        mover: Moves the keys of candidates to their slots.
        windows: For each layer, how many tokens back it sees; ``None``: all. Candidates are always in sight.
    """

    def __init__(
        self,
        batch: PackedBatch,
        rows: dict[int, tuple[Tensor, Tensor]],
        mover: KeyMover,
        windows: Sequence[int | None],
    ) -> None:
        sequences = batch.row_sequences[batch.candidate_rows]
        num_sequences = int(sequences[-1]) + 1
        self._row_blocks = Blocks(batch.row_numbers, len(batch.row_sequences))
        self._by_row = Blocks(batch.candidate_rows, len(batch.row_sequences))
        self._by_sequence = Blocks(sequences, num_sequences)
        self._local_blocks = Blocks(batch.local_sequences, num_sequences)
        self._rows = rows
        self._mover = mover
        self._shift = shift_to_slots(batch)
        self._masks = {window: self._masks_of(batch, window) for window in set(windows)}
        self._windows = windows

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Compute a layer's attention."""
        split = len(self._shift)
        candidate_mask, local_bias = self._masks[self._windows[layer]]
        row_k, row_v = (self._row_blocks.spread(states.to(key.dtype)) for states in self._rows[layer])
        candidate_out = _attend(
            self._by_row.spread(query[:split]),
            torch.cat((row_k, self._by_row.spread(key[:split])), dim=1),
            torch.cat((row_v, self._by_row.spread(value[:split])), dim=1),
            candidate_mask,
            scoring,
        )
        moved_k = moved(self._mover, layer, key[:split], self._shift)
        local_out = _attend(
            self._local_blocks.spread(query[split:]),
            torch.cat((self._by_sequence.spread(moved_k), self._local_blocks.spread(key[split:])), dim=1),
            torch.cat((self._by_sequence.spread(value[:split]), self._local_blocks.spread(value[split:])), dim=1),
            local_bias.to(query.dtype),
            scoring,
        )
        return torch.cat((self._by_row.join(candidate_out), self._local_blocks.join(local_out)))

    def _masks_of(self, batch: PackedBatch, window: int | None) -> tuple[Tensor, Tensor]:
        return self._candidate_mask(batch, window), self._local_bias(batch, window)

    def _candidate_mask(self, batch: PackedBatch, window: int | None) -> Bool[Tensor, "rows 1 sets row_and_sets"]:
        device = batch.row_ids.device
        positions = self._by_row.spread(batch.candidate_positions)
        gaps = positions.unsqueeze(-1) - torch.arange(self._row_blocks.width, device=device)
        sees_row = (gaps > 0) if window is None else (gaps > 0) & (gaps < window)
        itself = torch.eye(self._by_row.width, dtype=torch.bool, device=device)
        return torch.cat((sees_row, itself.expand(len(sees_row), -1, -1)), dim=-1).unsqueeze(1)

    def _local_bias(
        self, batch: PackedBatch, window: int | None
    ) -> Float[Tensor, "sequences 1 local candidates_and_local"]:
        seen_sets = self._local_blocks.spread(batch.local_sets)
        # No local token sees a set below 0: that is where a sequence has fewer candidates than others.
        sets = self._by_sequence.spread(batch.candidate_sets, fill=-1)
        bias = self._by_sequence.spread(batch.row_bias[batch.candidate_rows])
        to_candidates = torch.where(seen_sets.unsqueeze(-1) == sets.unsqueeze(1), bias.unsqueeze(1), -torch.inf)
        behind = _is_behind(self._local_blocks.width, window, sets.device)
        to_local = torch.zeros(behind.shape, device=sets.device).masked_fill(~behind, -torch.inf)
        return torch.cat((to_candidates, to_local.expand(len(sets), -1, -1)), dim=-1).unsqueeze(1)


def shift_to_slots(batch: PackedBatch) -> Tensor:
    """Return how far each candidate's key must be moved to the position it has in front of its local block."""
    return batch.row_slots[batch.candidate_rows] - batch.candidate_positions


def moved(
    mover: KeyMover, layer: int, keys: Float[Tensor, "tokens kv_heads head_dim"], shift: Tensor
) -> Float[Tensor, "tokens kv_heads head_dim"]:
    """Move the keys of flat tokens."""
    return mover.move(layer, keys.transpose(0, 1).unsqueeze(0), shift.unsqueeze(0))[0].transpose(0, 1)


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens head_dim"],
    key: Float[Tensor, "1 kv_heads tokens head_dim"],
    value: Float[Tensor, "1 kv_heads tokens head_dim"],
    attention_mask: Tensor | None,
    *,
    scaling: float,
    focus_layout: Layout,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads head_dim"], None]:
    """Compute attention over a flat sequence; the signature is transformers' attention interface.

    ``softcap`` bounds scores (Gemma 2); ``s_aux`` holds each head's sink (gpt-oss).
    """
    layer: Any = module.layer_idx
    flat = [states[0].transpose(0, 1) for states in (query, key, value)]
    return focus_layout.attend(layer, *flat, Scoring(scaling, softcap, s_aux)).unsqueeze(0), None


def _is_behind(length: int, window: int | None, device: torch.device) -> Bool[Tensor, "length length"]:
    """Say which tokens are at or behind each of a run of tokens, and in sight of its window."""
    all_pairs = torch.ones(length, length, dtype=torch.bool, device=device)
    behind = all_pairs.tril()
    return behind if window is None else behind & all_pairs.triu(1 - window)


def _attend(
    query: Float[Tensor, "blocks new heads head_dim"],
    key: Float[Tensor, "blocks all kv_heads head_dim"],
    value: Float[Tensor, "blocks all kv_heads head_dim"],
    mask: Tensor | None,
    scoring: Scoring,
) -> Float[Tensor, "blocks new heads head_dim"]:
    """Attend block by block; without a mask, each token to those up to itself."""
    groups = query.shape[2] // key.shape[2]
    key, value = (states.repeat_interleave(groups, dim=2) if groups > 1 else states for states in (key, value))
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    if scoring.softcap is None and scoring.sinks is None:
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scoring.scaling
        )
        return out.transpose(1, 2)
    mask = _is_behind(key.shape[2], None, key.device) if mask is None else mask
    scores = scores_of(query, key, scoring.scaling, scoring.softcap, mask)
    if scoring.sinks is None:
        return (scores.softmax(dim=-1) @ value).transpose(1, 2)
    beside = scoring.sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return (torch.cat((scores, beside), dim=-1).softmax(dim=-1)[..., :-1] @ value).transpose(1, 2)


def _no_mask(*_: Any, **__: Any) -> None:
    """Masks are the layout's business."""


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)
