"""Making candidates of the chunks in focus again, ahead of the rest. Source: ours (design: "focused")."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkBatch
from focusllm.decoding.plans import Place
from focusllm.decoding.ranks import Made
from focusllm.decoding.state import FocusState

# Makes a batch's candidates again from the tokens that it has not read: its places, and their candidates.
Condense = Callable[[ChunkBatch, Sequence[Tensor]], tuple[list[Place], CandidateKV]]


def refresh_focus(state: FocusState, share: float, device: torch.device, condense: Condense) -> Made:
    """Make candidates again of those chunks that hold a share of the attention to candidates.

    Copies of their rows run ahead of the rest, and are kept as long as they are in focus: one token is new to them at
    each step. What comes into focus is copied from where the rest stands, and catches up with all pending tokens. Of
    batches that are not to stay in memory, no copies do: they are made anew at every step.

    Args:
        state: The state, with the new token among its pending ones.
        share: See :meth:`FocusState.focus`.
        device: Where chunks have to be.
        condense: Makes candidates.
    """
    focus = state.focus(share)
    kept = [
        batch if focus.issuperset(batch.places) else batch.part_of(focus)
        for batch in state.ahead
        if focus.intersection(batch.places)
    ]
    missing = focus.difference(*(batch.places for batch in kept))
    made = [condense(batch, state.pending[-1:]) for batch in kept]
    wanted = [batch for batch in state.chunks.batches if missing.intersection(batch.places)]
    for batch in state.chunks.visit(device, wanted):
        copy = batch.part_of(missing)
        made.append(condense(copy, state.pending))
        if batch.remains:
            kept.append(copy)
    state.ahead = kept
    return made
