"""Refreshing the chunks in focus alone: with all of them in focus it is refreshing all; otherwise just those."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed import ProcessGroup

from focusllm import FocusConfig, FocusModel
from focusllm.decoding.recording import on_candidates
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError
from tiny import SMALL, random_ids, tiny_model

LENGTHS = (75, 101, 40, 88)
STEPS = [random_ids(len(LENGTHS), seed=100 + step) for step in range(6)]
FOCUSED = replace(SMALL, candidate_refresh=4, focus_share=0.6, local_refresh="cached")


def sequences() -> list[list[int]]:
    return [random_ids(length, seed) for seed, length in enumerate(LENGTHS)]


def prefilled(model: FocusModel, rows: list[list[int]]) -> FocusState:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return model.prefill(ids, mask)


def decoded(
    config: FocusConfig, rows: list[list[int]], steps: list[list[int]], group: ProcessGroup | None = None
) -> torch.Tensor:
    model = tiny_model("qwen2", config, group=group)
    state = prefilled(model, rows)
    scores = [state.logits]
    for tokens in steps:
        state = model.step(state, torch.tensor(tokens))
        scores.append(state.logits)
    return torch.stack(scores, dim=1)


@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
@pytest.mark.parametrize("candidate_refresh", [0, 4])
def test_all_in_focus_is_all_refreshed(local_refresh: str, candidate_refresh: int) -> None:
    every = replace(SMALL, local_refresh=local_refresh)
    focused = replace(every, candidate_refresh=candidate_refresh, focus_share=1.0)
    difference = decoded(focused, sequences(), STEPS) - decoded(every, sequences(), STEPS)
    assert difference.abs().max() <= 1e-11


def test_a_batch_equals_each_sequence_alone() -> None:
    together = decoded(FOCUSED, sequences(), STEPS)
    for index, row in enumerate(sequences()):
        alone = decoded(FOCUSED, [row], [[tokens[index]] for tokens in STEPS])
        assert (together[index] - alone[0]).abs().max() <= 1e-11
    assert (together - decoded(replace(FOCUSED, focus_share=None), sequences(), STEPS)).abs().max() > 1e-6


def test_the_fewest_chunks_that_reach_the_share_are_refreshed_and_no_others() -> None:
    model = tiny_model("qwen2", FOCUSED)
    state = prefilled(model, sequences()[:1])
    for token in (5, 6, 7):
        [local] = state.locals
        assert local.candidates is not None
        assert local.shares is not None
        attention = on_candidates(local.shares)[0] / on_candidates(local.shares).sum()
        before = [keys.clone() for keys, _ in local.candidates.layers]
        focus = state.focus(0.6)
        chosen = {number for _, number in focus}
        held = attention[sorted(chosen)]
        assert held.sum() >= 0.6 > held.sum() - held.min()
        assert all(attention[number] <= held.min() for number in range(len(attention)) if number not in chosen)
        state = model.step(state, torch.tensor([token]))
        changed = {
            number
            for keys, (now, _) in zip(before, state.locals[0].candidates.layers, strict=True)  # type: ignore[union-attr]
            for number in range(now.shape[2])
            if not torch.equal(keys[:, :, number], now[:, :, number])
        }
        assert changed == chosen


def test_settings_that_change_nothing_or_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="changes nothing"):
        FocusConfig(focus_share=0.9)
    with pytest.raises(ConfigurationError, match="at most 1"):
        FocusConfig(candidate_refresh=16, focus_share=1.5)
    model = tiny_model("qwen2", FOCUSED)
    model.base.set_attn_implementation("eager")
    with pytest.raises(ConfigurationError, match="cannot be recorded"):
        prefilled(model, sequences())


def test_chunks_that_run_ahead_equal_chunks_copied_anew_at_every_step() -> None:
    ahead, anew = (prefilled(tiny_model("qwen2", FOCUSED), sequences()) for _ in range(2))
    model, partly = tiny_model("qwen2", FOCUSED), 0
    for tokens in STEPS * 2:
        before = [set(batch.places) for batch in ahead.ahead]
        ahead, anew = (model.step(state, torch.tensor(tokens)) for state in (ahead, anew))
        assert (ahead.logits - anew.logits).abs().max() <= 1e-11
        after = {place for batch in ahead.ahead for place in batch.places}
        partly += any(places & after and places - after for places in before)
        anew.ahead = []
    # Some of those that ran ahead together have gone out of focus alone.
    assert partly


def test_what_stays_in_focus_reads_each_new_token_once() -> None:
    model = tiny_model("qwen2", replace(FOCUSED, candidate_refresh=100, focus_share=1.0))
    state = prefilled(model, sequences()[:1])
    [num_chunks] = state.num_chunks
    read = []
    model.base.model.layers[0].mlp.register_forward_hook(lambda _, given, __: read.append(given[0].shape[:2].numel()))
    for token in range(5, 15):
        read.clear()
        state = model.step(state, torch.tensor([token]))
        # The token that was the candidate, the new one, and the local context's.
        assert sum(read) == 2 * num_chunks + 1


def test_what_does_not_stay_in_memory_leaves_no_copies_there(tmp_path: Path) -> None:
    model = tiny_model("qwen2", FOCUSED)
    text, scores = random_ids(90), []
    for document in (model.index(text), model.index(text, tmp_path, device_budget=0)):
        assert document.cache is not None
        state = model._engine.ask(model._engine.split([[*text, *random_ids(10, seed=1)]], 0), document.cache)
        scores.append(torch.cat([(state := model.step(state, torch.tensor(tokens[:1]))).logits for tokens in STEPS]))
        # The last of six steps is two behind a refresh of all.
        assert bool(state.ahead) == (document.num_bytes() > 0)
    assert (scores[0] - scores[1]).abs().max() <= 1e-11
