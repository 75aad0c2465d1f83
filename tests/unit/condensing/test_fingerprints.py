"""Telling bases apart."""

from collections.abc import Callable

import pytest
import torch

from focusllm.condensing.fingerprints import weights_fingerprint
from focusllm.errors import DocumentError
from tiny import random_ids, tiny_base, tiny_model


def test_weights_that_were_rounded_are_others() -> None:
    model = tiny_model(dtype=torch.float32)
    document = model.index(random_ids(80))
    before = document.identity
    model.to(torch.bfloat16).to(torch.float32)
    with pytest.raises(DocumentError, match="index it again"):
        model.index(document)
    # What is made now is what a model loaded in that precision makes.
    rounded = model.to(torch.bfloat16).index(random_ids(80)).identity
    assert rounded == tiny_model(dtype=torch.float32).to(torch.bfloat16).index(random_ids(80)).identity
    assert rounded.base != before.base


CHANGES: dict[str, Callable[[torch.nn.Module], object]] = {
    "in place": lambda base: base.lm_head.weight.detach().mul_(1.5),
    # As libraries merge adapters: PyTorch does not count it.
    "by data": lambda base: base.lm_head.weight.data.mul_(1.5),
    "rounded": lambda base: base.to(torch.bfloat16).to(torch.float32),
    "loaded": lambda base: base.load_state_dict({n: v * 1.5 for n, v in base.state_dict().items()}),
    "assigned": lambda base: base.load_state_dict({n: v * 1.5 for n, v in base.state_dict().items()}, assign=True),
    "trained": lambda base: train_once(base),
}


def train_once(base: torch.nn.Module) -> None:
    base.requires_grad_(True)
    base(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    torch.optim.AdamW(base.parameters(), lr=0.1).step()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_that_were_changed_are_others_however_it_was_done(change: Callable[[torch.nn.Module], object]) -> None:
    base = tiny_base(dtype=torch.float32)
    before = weights_fingerprint(base)
    assert weights_fingerprint(base) == before == weights_fingerprint(tiny_base(dtype=torch.float32))
    with torch.set_grad_enabled(change is CHANGES["trained"]):
        change(base)
    assert weights_fingerprint(base) != before


def test_a_base_whose_parts_are_compiled_is_the_same() -> None:
    """What is compiled stands in something that is no part of the model."""
    base = tiny_base(dtype=torch.float32)
    before = weights_fingerprint(base)
    for number, layer in enumerate(base.model.layers):
        base.model.layers[number] = torch.compile(layer)
    assert any("_orig_mod" in name for name, _ in base.named_parameters())
    assert weights_fingerprint(base) == before
    base.model = torch.compile(base.model)
    assert weights_fingerprint(base) == before
