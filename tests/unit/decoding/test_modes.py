"""Modes of PyTorch and of the base: none of them changes an answer unnoticed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from focusllm.errors import DocumentError, StateError
from tiny import random_ids, tiny_model

IDS = torch.tensor([random_ids(90), random_ids(90, seed=1)])
NEXT = torch.tensor([5, 6])


@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
def test_what_is_made_in_inference_mode_can_be_used_outside(local_refresh: str, chunk_kv: str) -> None:
    model = tiny_model().configure(local_refresh=local_refresh, chunk_kv=chunk_kv)
    wanted = model.step(model.prefill(IDS), NEXT).logits
    with torch.inference_mode():
        state = model.prefill(IDS)
    assert torch.equal(model.step(state, NEXT).logits, wanted)
    options: dict[str, Any] = {"max_new_tokens": 4, "num_beams": 2}
    beams = model.generate(IDS, **options)
    document = model.index(IDS[0, :80])
    with torch.inference_mode():
        assert torch.equal(model.generate(IDS, **options), beams)  # type: ignore[arg-type]
        same = model.index(IDS[0, :80])
    assert same.cache is not None
    assert document.cache is not None
    [sequence] = model._engine.split([IDS[0].tolist()])
    assert torch.equal(*(model._engine.ask([sequence], one.cache).logits for one in (same, document)))  # type: ignore[arg-type]


def test_a_base_that_keeps_nothing_is_refused() -> None:
    model = tiny_model()
    wanted = model.generate(IDS[:, :20], max_new_tokens=4)
    getattr(model.base, "activation_checkpointing_enable", model.base.gradient_checkpointing_enable)()
    assert torch.equal(model.generate(IDS[:, :20], max_new_tokens=4), wanted)  # type: ignore[arg-type]
    model.train()
    for ids in (IDS, IDS[:, :20]):
        with pytest.raises(StateError, match=r"keeps no keys and values: call `model.eval\(\)`"):
            model.generate(ids, max_new_tokens=4)


def test_autocast_is_a_precision_of_its_own(tmp_path: Path) -> None:
    model = tiny_model(dtype=torch.float32)
    for other in ("bfloat16", "float16"):
        with torch.autocast("cpu", dtype=getattr(torch, other)):
            document = model.index(IDS[0], tmp_path / other)
            assert model.generate(IDS[:1], max_new_tokens=2).shape == (1, 92)  # type: ignore[union-attr]
        assert document.identity.dtype == f"float32 under autocast to {other}"
        with pytest.raises(DocumentError, match=r"float32 under autocast to .*; this model has .* float32, BOS"):
            model.load_document(tmp_path / other)
    with torch.autocast("cpu", enabled=False):
        assert model.index(IDS[0]).identity.dtype == "float32"
