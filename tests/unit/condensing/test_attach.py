"""Bases that candidate projections cannot be put into."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification

from focusllm import FocusModel
from focusllm.condensing.attach import CandidateAdapter, _check_language_model
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, UnsupportedModelError
from tiny import SMALL, disturb, random_ids, tiny_base, tiny_model

# PEFT asks transformers for it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def test_a_base_spread_over_devices_is_refused_as_it_was() -> None:
    base = tiny_base()
    base.model.layers[1].to("meta")
    layers = [type(layer) for layer in base.modules()]
    with pytest.raises(ConfigurationError, match=r"several devices \(cpu, meta\).*torchrun"):
        CandidateAdapter(base, FocusConfig())
    assert [type(layer) for layer in base.modules()] == layers
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("layer_place", ["cpu", "disk"])
def test_an_offloaded_base_is_refused(layer_place: str, tmp_path: Path) -> None:
    base = tiny_base()
    if layer_place == "cpu":
        cpu_offload(base, torch.device("cpu"))
    else:
        places: dict[str, Any] = {"model": "cpu", "lm_head": "disk"}
        dispatch_model(base, places, main_device="cpu", offload_dir=tmp_path)
    with pytest.raises(ConfigurationError, match=r"offloaded by accelerate, .*without `device_map`"):
        FocusModel(base, SMALL)  # type: ignore[arg-type]


def test_a_base_without_values_is_wrapped() -> None:
    """What sizes are known of before anything is loaded."""
    adapter = CandidateAdapter(tiny_base().to(torch.device("meta")), FocusConfig())
    assert {parameter.device.type for parameter in adapter.parameters().values()} == {"meta"}


def test_a_base_that_carries_candidate_projections_is_refused_and_they_stay_trainable() -> None:
    model = tiny_model()
    with pytest.raises(ConfigurationError, match="already carries candidate projections"):
        FocusModel(model.base, SMALL)
    assert all(parameter.requires_grad for parameter in model.adapter.parameters().values())


def test_adapters_that_share_a_base_do_not_displace_each_other() -> None:
    first, ids = tiny_model(dtype=torch.float32), torch.tensor([random_ids(90)])
    wanted_of_first = first(ids).logits
    second = FocusModel(first.detach(), SMALL).eval()
    disturb(second, 0.3)
    wanted = second(ids).logits
    with first.disabled():
        assert torch.equal(second(ids).logits, wanted)
    first.detach()
    with pytest.raises(ConfigurationError, match="already carries candidate projections; detach them"):
        first.adapter.attach()
    assert torch.equal(second(ids).logits, wanted)
    with second.disabled():
        first.adapter.attach()
        assert torch.equal(first(ids).logits, wanted_of_first)
        first.detach()
    assert torch.equal(second(ids).logits, wanted)


def lora_of(base: nn.Module) -> Any:
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(base, settings)  # type: ignore[arg-type]


def test_what_is_no_model_of_transformers_own_is_refused() -> None:
    for other, words in (("org/model", "got a str"), (lora_of(tiny_base()), "got a PeftModelForCausalLM")):
        with pytest.raises(UnsupportedModelError, match=rf"{words}\. .*from_pretrained.*merge_and_unload"):
            _check_language_model(other)
    _check_language_model(torch.compile(tiny_base()))


def test_what_is_no_causal_language_model_is_refused() -> None:
    classifier = AutoModelForSequenceClassification.from_config(tiny_base().config)  # type: ignore[arg-type]
    for other in (tiny_base().base_model, classifier):
        with pytest.raises(UnsupportedModelError, match=f"{type(other).__name__} gives no scores of next tokens"):
            FocusModel(other, SMALL)  # type: ignore[arg-type]


def test_projections_that_carry_an_adapter_are_refused_as_they_are() -> None:
    """Their weight is not what they compute."""
    inside = lora_of(tiny_base()).get_base_model()
    with pytest.raises(UnsupportedModelError, match=r"q_proj of layers\.0\.q carries an adapter: merge it"):
        FocusModel(inside, SMALL)
    assert any(parameter.requires_grad for parameter in inside.parameters())


def test_a_merged_lora_is_part_of_its_base() -> None:
    merged = lora_of(tiny_base()).merge_and_unload()
    ids = torch.tensor([random_ids(20)])
    with torch.no_grad():
        wanted = merged(ids).logits[:, -1]
    assert torch.equal(FocusModel(merged, SMALL).eval()(ids).logits[:, 0], wanted)
