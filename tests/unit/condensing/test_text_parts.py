"""Bases that read more than text: what is loaded is their text part, with their weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMultimodalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from focusllm import FocusModel
from focusllm.condensing.bases import load_base
from focusllm.condensing.families import attention_modules
from focusllm.errors import UnsupportedModelError
from tiny import SMALL, random_ids, tiny_base

VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
MULTIMODAL: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma3": ("gemma3_text", {"vision_config": VISION, "mm_tokens_per_image": 4}),
    "gemma4": ("gemma4_text", {"vision_config": {**VISION, "model_type": "gemma4_vision"}, "audio_config": None}),
    "mistral3": ("mistral", {"vision_config": {**VISION, "model_type": "pixtral"}, "image_token_index": 95}),
    "llava": ("llama", {"vision_config": {**VISION, "model_type": "clip_vision_model"}, "image_token_index": 95}),
    "voxtral": ("llama", {"audio_config": {**VISION, "num_mel_bins": 8}, "audio_token_id": 95}),
    "blip-2": (
        "opt",
        {"vision_config": VISION, "qformer_config": {**VISION, "vocab_size": 9}, "image_token_index": 95},
    ),
}
# What reads nothing without an image, but has a whole language model inside.
NEEDS_IMAGES = ("blip-2",)


def saved_whole(kind: str, folder: Path) -> Any:
    text, others = MULTIMODAL[kind]
    text_config = tiny_base(text).config.to_dict()
    torch.manual_seed(0)
    whole = AutoModelForMultimodalLM.from_config(CONFIG_MAPPING[kind](text_config=text_config, **others))
    whole.save_pretrained(folder)
    return whole.eval()


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_the_text_part_scores_text_as_the_whole_does(kind: str, tmp_path: Path) -> None:
    whole = saved_whole(kind, tmp_path)
    model = FocusModel.from_pretrained(tmp_path, config=SMALL, device="cpu", dtype="float32")
    assert model.base.config.model_type == MULTIMODAL[kind][0]
    assert not any("vision" in name for name, _ in model.named_parameters())
    ids = torch.tensor([random_ids(20)])
    with torch.no_grad(), model.disabled() as base:
        assert torch.equal(base(ids).logits, (whole.language_model if kind in NEEDS_IMAGES else whole)(ids).logits)
    # Candidates see to it that attention is looked up in the configuration the layers have.
    assert model.base.config is attention_modules(model.base, model.adapter.family)[0].config  # type: ignore[arg-type]
    assert model.generate(torch.tensor([random_ids(90)]), max_new_tokens=3).shape == (1, 93)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["gemma3", "llava"])
def test_the_text_part_computes_attention_as_asked_for(kind: str, tmp_path: Path) -> None:
    saved_whole(kind, tmp_path)
    base, _ = load_base(str(tmp_path), "auto", attention="eager")
    assert {one.config._attn_implementation for one in base.modules() if hasattr(one, "config")} == {"eager"}


def test_an_adapter_of_a_text_part_is_told_by_its_base(tmp_path: Path) -> None:
    saved_whole("gemma3", tmp_path / "base")
    model = FocusModel.from_pretrained(tmp_path / "base", config=SMALL, device="cpu", dtype="float32")
    model.save_adapter(tmp_path / "adapter")
    again = FocusModel.from_pretrained(tmp_path / "base", tmp_path / "adapter", device="cpu", dtype="float32")
    assert again.config == model.config
    assert str(tmp_path / "base") in (tmp_path / "adapter" / "adapter_config.json").read_text()


def test_a_text_part_that_is_not_supported_is_named(tmp_path: Path) -> None:
    CONFIG_MAPPING["qwen2_vl"]().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="'qwen2_vl_text', is not supported either"):
        load_base(str(tmp_path), "auto")


def test_a_text_part_that_cannot_be_taken_out_is_named(tmp_path: Path) -> None:
    CONFIG_MAPPING["musicflamingo"]().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="'qwen2', is none that transformers loads as a model"):
        load_base(str(tmp_path), "auto")
