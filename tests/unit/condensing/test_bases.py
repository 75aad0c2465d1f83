"""Loading bases with and without tokenizers, and telling bases apart."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from focusllm import FocusModel
from focusllm.condensing import bases
from focusllm.condensing.bases import load_base, weights_fingerprint
from focusllm.errors import DocumentError, InputError
from tiny import SMALL, random_ids, save_tiny_base, tiny_base, tiny_model

DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: (folder / "tokenizer.json").write_text('{"version": '),
    "a list": lambda folder: (folder / "tokenizer.json").write_text("[]"),
    "empty": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "gone": lambda folder: (folder / "tokenizer.json").unlink(),
    "settings cut": lambda folder: (folder / "tokenizer_config.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tokenizer_is_not_taken_for_none(damage: Callable[[Path], object], tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    assert load_base(str(tmp_path), "auto")[1] is not None
    damage(tmp_path)
    with pytest.raises(InputError, match=r"The tokenizer of the base model .* cannot be loaded"):
        load_base(str(tmp_path), "auto")


def test_a_base_without_a_tokenizer_reads_token_ids(tmp_path: Path) -> None:
    tiny_base().save_pretrained(tmp_path)
    model = FocusModel.from_pretrained(tmp_path, config=SMALL, device="cpu")
    assert model.tokenizer is None
    assert model(torch.tensor([random_ids(80)])).logits.isfinite().all()


PRECISIONS: dict[str, tuple[str, bool, int, torch.dtype]] = {
    "emulated": ("auto", True, 10**12, torch.float32),
    "with arithmetic": ("auto", False, 10**12, torch.bfloat16),
    "as asked for": ("bfloat16", True, 10**12, torch.bfloat16),
    "no room": ("auto", True, 10**5, torch.bfloat16),
}


@pytest.mark.parametrize(("dtype", "emulated", "free", "expected"), PRECISIONS.values(), ids=PRECISIONS)
def test_a_precision_the_cpu_only_emulates_is_left_to_those_who_ask_for_it(
    dtype: str, emulated: bool, free: int, expected: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(bases, "is_emulated", lambda kind, _: emulated and kind == torch.bfloat16)
    monkeypatch.setattr(bases, "free_bytes", lambda _: free)
    save_tiny_base(tmp_path, torch.bfloat16)
    base, _ = load_base(str(tmp_path), dtype)
    assert {parameter.dtype for parameter in base.parameters()} == {expected}
    assert ("has no arithmetic for bfloat16" in caplog.text) == (dtype == "auto" and emulated)


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
