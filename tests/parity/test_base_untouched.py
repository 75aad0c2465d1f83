"""Equality 1, 2 and 8: the base stays what it was; a fresh adapter changes nothing."""

import pytest
import torch

from focusllm import FocusModel
from focusllm.cache.chunks import ChunkBatch
from focusllm.cache.layers import empty_cache
from focusllm.condensing.condense import Condenser
from tiny import BOS, FAMILY_NAMES, SMALL, disturb, random_ids, tiny_base, tiny_model


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sequences_within_the_window_are_the_base_s_own_business(family: str, dtype: torch.dtype) -> None:
    ids = torch.tensor([random_ids(50)])
    with torch.no_grad():
        wanted = tiny_base(family, dtype)(ids).logits[:, -1:]
    assert torch.equal(tiny_model(family, dtype=dtype)(ids).logits, wanted)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_detaching_gives_back_the_same_base(family: str) -> None:
    base = tiny_base(family)
    before = dict(base.named_parameters())
    modules = dict(base.named_modules())
    ids = torch.tensor([random_ids(60)])
    with torch.no_grad():
        wanted = base(ids).logits
    model = FocusModel(base, SMALL)
    disturb(model)
    detached = model.detach()
    assert detached is base
    assert dict(base.named_modules()) == modules
    assert all(parameter is before[name] for name, parameter in base.named_parameters())
    with torch.no_grad():
        assert torch.equal(base(ids).logits, wanted)


def test_disabled_is_the_base_and_comes_back() -> None:
    model = tiny_model()
    ids = torch.tensor([random_ids(80)])
    focused = model(ids).logits
    with model.disabled() as base, torch.no_grad():
        assert torch.equal(base(ids).logits, tiny_base()(ids).logits)
    assert torch.equal(model(ids).logits, focused)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("rank", [None, 2])
def test_a_fresh_adapter_condenses_as_the_base_reads(family: str, rank: int | None) -> None:
    """The candidate's key and value are those of an ordinary last token."""
    from dataclasses import replace

    base = tiny_base(family)
    rows = torch.tensor([random_ids(20, seed) for seed in range(3)])
    with torch.no_grad():
        wanted = base(rows, use_cache=True).past_key_values
        model = FocusModel(base, replace(SMALL, rank=rank))
        # Chunk 19 of its sequence sits at the row's own last position, so that nothing has to be moved.
        batch = ChunkBatch([(0, 19)] * 3, empty_cache(base.config.num_hidden_layers, slack=0))
        made = Condenser(base, model.adapter).condense(batch, rows)
    for (keys, values), layer in zip(made.layers, wanted.layers, strict=True):
        assert torch.allclose(keys, layer.keys[..., -1:, :], atol=1e-12)
        assert torch.allclose(values, layer.values[..., -1:, :], atol=1e-12)


def test_the_last_layer_has_no_candidate_query_or_output() -> None:
    names = set(tiny_model().adapter.projections)
    assert {"layers.2.k", "layers.2.v"} <= names
    assert not {"layers.2.q", "layers.2.o"} & names


def test_candidates_matter() -> None:
    """The disturbed adapter of the other tests does change the output, so that their equalities say something."""
    ids = torch.tensor([random_ids(80)])
    fresh = FocusModel(tiny_base(), SMALL).eval()
    assert (tiny_model()(ids).logits - fresh(ids).logits).abs().max() > 1e-3
    assert BOS not in ids
