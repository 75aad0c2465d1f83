"""Loading bases with and without tokenizers, and telling bases apart."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from focusllm import FocusModel
from focusllm.condensing.bases import load_base
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
