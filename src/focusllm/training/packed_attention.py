"""Attention of the packed training pass, plugged into the base through transformers' attention interface.

What goes through the base is flat: first, without gradients, the tokens of all rows; then the candidates of all rows
and behind them the local blocks. Row tokens attend within their row. Each candidate attends to the tokens of its own
row before it, whose keys and values were kept, and to those of its set up to itself; each local token attends to one
set of candidates and to the local tokens up to itself. That is block-sparse, and computed block by block: rows of equal
length together, and each sequence's local block by itself.
Source: paper, equations (3) to (5); the sets: ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from focusllm.cache.rotation import KeyMover
from focusllm.condensing.attention import scores_of
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


@dataclass(frozen=True)
class _Runs:
    """Rows of equal length and with as many candidates, one after another: each run is a batch without padding."""

    rows: list[int]
    row_tokens: list[int]
    candidates: list[int]

    @classmethod
    def of(cls, batch: PackedBatch) -> "_Runs":
        lengths = torch.stack([batch.row_numbers.bincount(), batch.candidate_rows.bincount()], dim=1)
        sizes, rows = lengths.unique_consecutive(dim=0, return_counts=True)
        row_tokens, candidates = (sizes * rows.unsqueeze(1)).T.tolist()
        return cls(rows.tolist(), row_tokens, candidates)

    def of_rows(self, states: Shaped[Tensor, "row_tokens ..."]) -> list[Tensor]:
        """Return what there is of the tokens of each run, (rows, row, *features)."""
        return self._batched(states.split(self.row_tokens))

    def of_candidates(self, states: Shaped[Tensor, "candidates ..."]) -> list[Tensor]:
        """Return what there is of the candidates of each run, (rows, candidates, *features)."""
        return self._batched(states.split(self.candidates))

    def _batched(self, parts: Sequence[Tensor]) -> list[Tensor]:
        return [part.unflatten(0, (rows, -1)) for part, rows in zip(parts, self.rows, strict=True)]


class RowLayout:
    """The tokens of rows, end to end; each attends to its row up to itself.

    Args:
        batch: The packed batch.
        windows: For each layer, how many tokens back it sees; ``None``: all.

    Attributes:
        kept: For each layer that has run, the keys and values of all row tokens, (row_tokens, kv_heads, head_dim).
    """

    def __init__(self, batch: PackedBatch, windows: Sequence[int | None]) -> None:
        self._runs = _Runs.of(batch)
        self._windows = windows
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Compute a layer's attention, and keep its keys and values."""
        self.kept[layer] = (key, value)
        window = self._windows[layer]
        outs = []
        for q, k, v in zip(*map(self._runs.of_rows, (query, key, value)), strict=True):
            near = None if window is None else _is_behind(q.shape[1], window, q.device)
            outs.append(_attend(q, k, v, near, scoring).flatten(0, 1))
        return torch.cat(outs)


class CandidateLayout:
    """What every way to attend to rows and candidates has to know.

    Args:
        batch: The packed batch.
        rows: For each layer, keys and values of all row tokens, (row_tokens, kv_heads, head_dim).
        mover: Moves the keys of candidates to their slots.
        windows: For each layer, how many tokens back it sees; ``None``: all. Candidates are always in sight.
    """

    def __init__(
        self,
        batch: PackedBatch,
        rows: Mapping[int, tuple[Tensor, Tensor]],
        mover: KeyMover,
        windows: Sequence[int | None],
    ) -> None:
        self._rows = rows
        self._mover = mover
        self._windows = windows
        slots = batch.row_slots[batch.candidate_rows] + batch.candidate_orders
        self._shift = slots - batch.candidate_positions

    def _moved(
        self, layer: int, keys: Float[Tensor, "candidates kv_heads head_dim"]
    ) -> Float[Tensor, "candidates kv_heads head_dim"]:
        """Move the keys of candidates to the positions they have in front of their local blocks."""
        return self._mover.move(layer, keys.transpose(0, 1).unsqueeze(0), self._shift.unsqueeze(0))[0].transpose(0, 1)


class BlockLayout(CandidateLayout):
    """Candidates and local blocks, run by run and sequence by sequence; see :class:`CandidateLayout`."""

    def __init__(
        self,
        batch: PackedBatch,
        rows: Mapping[int, tuple[Tensor, Tensor]],
        mover: KeyMover,
        windows: Sequence[int | None],
    ) -> None:
        super().__init__(batch, rows, mover, windows)
        self._runs = _Runs.of(batch)
        self._candidates = batch.row_sequences[batch.candidate_rows].bincount().tolist()
        self._locals = batch.local_sequences.bincount().tolist()
        kinds = set(windows)
        self._candidate_masks = {window: self._masks_of_candidates(batch, window) for window in kinds}
        self._local_biases = {window: self._biases_of_locals(batch, window) for window in kinds}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Compute a layer's attention."""
        sizes = [sum(self._candidates), sum(self._locals)]
        (q, local_q), (k, local_k), (v, local_v) = (states.split(sizes) for states in (query, key, value))
        moved_k = self._moved(layer, k)
        outs = [
            *self._attend_to_rows(layer, q, k, v, scoring),
            *self._attend_to_candidates(layer, (moved_k, v), (local_q, local_k, local_v), scoring),
        ]
        return torch.cat(outs)

    def _attend_to_rows(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring
    ) -> Iterator[Tensor]:
        rows = (self._runs.of_rows(states.to(key.dtype)) for states in self._rows[layer])
        own = map(self._runs.of_candidates, (query, key, value))
        masks = self._candidate_masks[self._windows[layer]]
        for row_k, row_v, q, k, v, mask in zip(*rows, *own, masks, strict=True):
            out = _attend(q, torch.cat((row_k, k), dim=1), torch.cat((row_v, v), dim=1), mask, scoring)
            yield out.flatten(0, 1)

    def _attend_to_candidates(
        self, layer: int, candidates: tuple[Tensor, Tensor], local: tuple[Tensor, Tensor, Tensor], scoring: Scoring
    ) -> Iterator[Tensor]:
        sets = (states.split(self._candidates) for states in candidates)
        own = (states.split(self._locals) for states in local)
        biases = self._local_biases[self._windows[layer]]
        for set_k, set_v, q, k, v, bias in zip(*sets, *own, biases, strict=True):
            all_k, all_v = torch.cat((set_k, k)).unsqueeze(0), torch.cat((set_v, v)).unsqueeze(0)
            yield _attend(q.unsqueeze(0), all_k, all_v, bias.to(q.dtype), scoring).squeeze(0)

    def _masks_of_candidates(self, batch: PackedBatch, window: int | None) -> list[Tensor]:
        """Say what each run's candidates may see of their row and its candidates: (rows, 1, candidates, all)."""
        masks = []
        own = (batch.candidate_positions, batch.candidate_orders, batch.candidate_sets)
        runs = zip(*map(self._runs.of_candidates, own), self._runs.of_rows(batch.row_positions), strict=True)
        for positions, orders, sets, places in runs:
            gaps = positions.unsqueeze(2) - places.unsqueeze(1)
            is_before = gaps > orders.unsqueeze(2)
            sees_row = is_before if window is None else is_before & (gaps < window)
            is_own = sets.unsqueeze(2) == sets.unsqueeze(1)
            sees_own = is_own & (orders.unsqueeze(2) >= orders.unsqueeze(1))
            masks.append(torch.cat((sees_row, sees_own), dim=-1).unsqueeze(1))
        return masks

    def _biases_of_locals(self, batch: PackedBatch, window: int | None) -> list[Tensor]:
        """Return what is added to each local block's scores over candidates and local tokens: (local, all)."""
        biases = []
        of_candidates = (batch.candidate_sets, batch.row_bias[batch.candidate_rows])
        parts = (states.split(self._candidates) for states in of_candidates)
        for seen, sets, bias in zip(batch.local_sets.split(self._locals), *parts, strict=True):
            to_candidates = torch.where(seen.unsqueeze(1) == sets, bias, -torch.inf)
            behind = _is_behind(len(seen), window, seen.device)
            to_local = torch.zeros(behind.shape, device=seen.device).masked_fill(~behind, -torch.inf)
            biases.append(torch.cat((to_candidates, to_local), dim=-1))
        return biases


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
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    return focus_layout.attend(layer, query, key, value, Scoring(scaling, softcap, s_aux)).unsqueeze(0), None


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
