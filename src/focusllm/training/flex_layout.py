"""Attention of candidates and local blocks by one kernel, on GPUs. Source: FlexAttention (arXiv 2412.05496); use: ours.

Keys lie end to end: tokens of rows, candidates as their rows see them, the same candidates moved to their slots, local
blocks, a sink. Numbers of queries and keys say who sees what; PyTorch makes a mask of it, and skips every block of keys
that no query of a block sees. Attention run by run takes some kernels for each run and sequence, this takes one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers.integrations.flex_attention import compile_friendly_flex_attention

from focusllm.cache.rotation import KeyMover
from focusllm.training.packed_attention import CandidateLayout, Scoring
from focusllm.training.packing import PackedBatch

# Of no group, and of no set.
_NONE = -1
# The last key is each head's sink. Every query sees it; its value is nothing, its score the sink's, if there is one.
_SINK = -2


@dataclass(frozen=True)
class _Queries:
    """What each query sees: tokens of its group at least so far behind it, and keys of its set up to its place."""

    groups: Int[Tensor, " queries"]
    places: Int[Tensor, " queries"]
    least_gaps: Int[Tensor, " queries"]
    sets: Int[Tensor, " queries"]


@dataclass(frozen=True)
class _Keys:
    """What each key is: a token at a place in a group, or a candidate of a set; ``bias`` is added to its scores."""

    groups: Int[Tensor, " keys"]
    places: Int[Tensor, " keys"]
    sets: Int[Tensor, " keys"]
    bias: Float[Tensor, " keys"]


class FlexLayout(CandidateLayout):
    """Candidates and local blocks, as one flat sequence over one flat sequence of keys.

    Args:
        batch, rows, mover, windows: See :class:`CandidateLayout`.
        flex_attention: PyTorch's function of that name, compiled or not.
    """

    def __init__(
        self,
        batch: PackedBatch,
        rows: Mapping[int, tuple[Tensor, Tensor]],
        mover: KeyMover,
        windows: Sequence[int | None],
        flex_attention: Callable[..., Any] = compile_friendly_flex_attention,
    ) -> None:
        super().__init__(batch, rows, mover, windows)
        self._flex_attention = flex_attention
        sequences = batch.row_sequences[batch.candidate_rows]
        num_sets = int(batch.candidate_sets.max()) + 1
        # The candidates of a set side by side, so that they fall into few blocks of keys.
        sets = len(sequences) + sequences * num_sets + batch.candidate_sets
        self._by_set = sets.argsort(stable=True)
        local_sets = len(sequences) + batch.local_sequences * num_sets + batch.local_sets
        queries, keys = _queries(batch, local_sets), _keys(batch, sets[self._by_set], self._by_set)
        self._bias = keys.bias
        self._masks = {window: _block_mask(queries, keys, window) for window in set(windows)}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Compute a layer's attention."""
        split = len(self._shift)
        row_k, row_v = (states.to(value.dtype) for states in self._rows[layer])
        slot_k = self._moved(layer, key[:split])[self._by_set]
        keys = [row_k, key[:split], slot_k, key[split:], torch.zeros_like(key[:1])]
        values = [row_v, value[:split], value[:split][self._by_set], value[split:], torch.zeros_like(value[:1])]
        # Under autocast, rotated queries and keys may come in a higher precision than values.
        flat = (query.to(value.dtype), torch.cat([states.to(value.dtype) for states in keys]), torch.cat(values))
        out = self._flex_attention(
            *(states.transpose(0, 1).unsqueeze(0).contiguous() for states in flat),
            score_mod=self._scores(scoring),
            block_mask=self._masks[self._windows[layer]],
            scale=scoring.scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out[0].transpose(0, 1)

    def _scores(self, scoring: Scoring) -> Callable[..., Tensor]:
        bias, softcap, sinks = self._bias, scoring.softcap, scoring.sinks

        # PyTorch traces it, and would trace whatever checks its types.
        @no_type_check
        def changed(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            if softcap is not None:
                score = torch.tanh(score / softcap) * softcap
            score = score + bias[key]
            # Only a sink has a bias of minus infinity.
            return score if sinks is None else torch.where(bias[key].isinf(), sinks[head].to(score.dtype), score)

        return changed


def _block_mask(queries: _Queries, keys: _Keys, window: int | None) -> BlockMask:
    """Say which blocks of keys the queries of each block see, and which keys of these."""
    # A tensor, not a number: another number would be compiled anew.
    furthest = torch.tensor(torch.iinfo(torch.int32).max if window is None else window, device=keys.bias.device)

    @no_type_check
    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        gap = queries.places[query] - keys.places[key]
        is_near = (gap >= queries.least_gaps[query]) & (gap < furthest)
        is_own = is_near & (queries.groups[query] == keys.groups[key])
        is_of_set = (queries.sets[query] == keys.sets[key]) & (gap >= 0)
        return is_own | is_of_set | (keys.sets[key] == _SINK)

    return create_block_mask(sees, None, None, len(queries.groups), len(keys.groups), device=keys.bias.device)


def _queries(batch: PackedBatch, local_sets: Tensor) -> _Queries:
    candidates, num_rows = batch.candidate_positions, len(batch.row_sequences)
    return _Queries(
        groups=_joined(batch.candidate_rows, num_rows + batch.local_sequences),
        places=_joined(candidates, batch.local_positions),
        # Candidates see the tokens before the first of them; a local token itself, too.
        least_gaps=_joined(batch.candidate_orders + 1, torch.zeros_like(batch.local_positions)),
        sets=_joined(_own_sets(batch), local_sets),
    )


def _keys(batch: PackedBatch, sets: Tensor, by_set: Tensor) -> _Keys:
    num_rows, own = len(batch.row_sequences), _own_sets(batch)
    none, row_none, local_none = (torch.full_like(one, _NONE) for one in (own, batch.row_ids, batch.local_ids))
    # Only candidates in slots have one, and the sink.
    before, behind = len(batch.row_ids) + len(own), len(batch.local_ids) + 1
    bias = nn.functional.pad(batch.row_bias[batch.candidate_rows][by_set], (before, behind))
    bias[-1] = -torch.inf
    sink = own.new_full((1,), _SINK)
    return _Keys(
        groups=_joined(batch.row_numbers, none, none, num_rows + batch.local_sequences, sink),
        places=_joined(batch.row_positions, batch.candidate_positions, none, batch.local_positions, sink),
        sets=_joined(row_none, own, sets, local_none, sink),
        bias=bias,
    )


def _own_sets(batch: PackedBatch) -> Int[Tensor, " candidates"]:
    """Number the sets of each row: that of a candidate is called after the first one in it."""
    orders = batch.candidate_orders
    return torch.arange(len(orders), device=orders.device) - orders


def _joined(*parts: Tensor) -> Int[Tensor, " tokens"]:
    return torch.cat(parts).int()
