"""A low-rank adapter in PEFT's format: a stock PEFT model makes the candidates that ours makes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from focusllm import FocusModel
from focusllm.cache.chunks import ChunkBatch
from focusllm.cache.layers import cache_tensors, empty_cache
from focusllm.condensing.adapter_files import fill_parameters
from focusllm.condensing.condense import Condenser
from focusllm.condensing.peft_files import is_peft, read_peft, save_as_peft
from focusllm.errors import AdapterError, ConfigurationError
from tiny import BOS, SMALL, random_ids, tiny_base, tiny_model

# PEFT asks transformers for it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
LOW = replace(SMALL, rank=3)
# Separate projections, biases, one projection for all three, roles of other names.
FAMILIES = ("llama", "qwen2", "phi", "gpt_neox", "opt", "gemma2")


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_activates_exactly_our_candidate_projections(family: str, tmp_path: Path) -> None:
    model = tiny_model(family, LOW)
    save_as_peft(tmp_path, model.adapter, model.config, model.base, BOS)
    rows = torch.tensor([random_ids(20, seed) for seed in range(3)])
    # Chunk 19 of its sequence sits at the row's own last position, so that nothing has to be moved.
    batch = ChunkBatch([(0, 19)] * 3, empty_cache(model.base.config.num_hidden_layers, slack=0))
    with torch.no_grad():
        ours = Condenser(model.base, model.adapter).condense(batch, rows).layers
        theirs = PeftModel.from_pretrained(tiny_base(family), tmp_path).eval()
        cache = theirs(input_ids=rows, alora_offsets=[1] * 3, use_cache=True).past_key_values
        untouched = tiny_base(family)(rows, use_cache=True).past_key_values
    for (keys, values), (their_keys, their_values) in zip(ours, cache_tensors(cache), strict=True):
        assert (keys - their_keys[:, :, -1:]).abs().max() <= 1e-6 * keys.abs().max()
        assert (values - their_values[:, :, -1:]).abs().max() <= 1e-6 * values.abs().max()
    assert (ours[0][1] - untouched.layers[0].values[:, :, -1:]).abs().max() > 1e-3
    for (keys, _), (base_keys, _) in zip(cache_tensors(cache), cache_tensors(untouched), strict=True):
        assert torch.equal(keys[:, :, :-1], base_keys[:, :, :-1])


def test_there_and_back_nothing_is_lost(tmp_path: Path) -> None:
    model = tiny_model("qwen2", LOW)
    save_as_peft(tmp_path, model.adapter, model.config, model.base, BOS)
    assert is_peft(tmp_path)
    settings, weights = read_peft(tmp_path, model.base)
    assert settings == {"rank": 3, "candidate_projections": ("q", "k", "v", "o")}
    assert weights.keys() == model.adapter.parameters().keys()
    for name, value in model.adapter.parameters().items():
        assert torch.equal(weights[name], value)


def test_a_lora_that_peft_trained_becomes_an_adapter(tmp_path: Path) -> None:
    """Its scaling is kept; what it has for the last layer's queries leads nowhere."""
    torch.manual_seed(3)
    settings = LoraConfig(
        r=4, lora_alpha=10, use_rslora=True, target_modules=["q_proj", "v_proj"], init_lora_weights=False,
        task_type="CAUSAL_LM", alora_invocation_tokens=[BOS],
    )  # fmt: skip
    theirs = get_peft_model(tiny_base("llama"), settings).eval()
    theirs.save_pretrained(tmp_path)
    base = tiny_base("llama")
    found, weights = read_peft(tmp_path, base)
    assert found == {"rank": 4, "candidate_projections": ("q", "v")}
    model = FocusModel(base, replace(SMALL, **found)).eval()
    fill_parameters(model.adapter, weights, "the LoRA")
    rows = torch.tensor([random_ids(20)])
    batch = ChunkBatch([(0, 19)], empty_cache(3, slack=0))
    with torch.no_grad():
        ours = Condenser(base, model.adapter).condense(batch, rows).layers
        cache = theirs(input_ids=rows, alora_offsets=[1], use_cache=True).past_key_values
    for (_, values), (_, their_values) in zip(ours, cache_tensors(cache), strict=True):
        # PEFT writes single precision.
        assert (values - their_values[:, :, -1:]).abs().max() <= 1e-5 * values.abs().max()


def test_a_lora_of_linear_layers_that_keep_their_weight_the_other_way_round(tmp_path: Path) -> None:
    """As GPT-2's: PEFT sets `fan_in_fan_out`, which matters to nothing but merging."""
    settings = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    theirs = get_peft_model(tiny_base("gpt2", torch.float32), settings).eval()
    theirs.save_pretrained(tmp_path)
    base = tiny_base("gpt2", torch.float32)
    found, weights = read_peft(tmp_path, base)
    model = FocusModel(base, replace(SMALL, **found)).eval()
    fill_parameters(model.adapter, weights, "the LoRA")
    states = torch.randn(1, 5, 32)
    with torch.no_grad(), model.adapter.gate.open_at(torch.tensor([4])):
        ours = base.transformer.h[0].attn.c_attn(states)[:, -1]
        assert torch.allclose(ours, theirs.base_model.model.transformer.h[0].attn.c_attn(states)[:, -1], rtol=1e-5)


def test_a_lora_of_a_base_that_peft_has_changed_is_refused(tmp_path: Path) -> None:
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM")
    get_peft_model(tiny_base(dtype=torch.float32), settings).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"init_lora_weights='pissa'.*path_initial_model_for_weight_conversion"):
        read_peft(tmp_path, tiny_base(dtype=torch.float32))


def test_what_cannot_be_converted_says_why(tmp_path: Path) -> None:
    full = tiny_model()
    with pytest.raises(ConfigurationError, match="full projections"):
        save_as_peft(tmp_path, full.adapter, full.config, full.base, BOS)
    several = tiny_model("llama", replace(LOW, candidates_per_chunk=2))
    with pytest.raises(ConfigurationError, match="only adapters with one"):
        save_as_peft(tmp_path, several.adapter, several.config, several.base, BOS)
    model = tiny_model("llama", LOW)
    save_as_peft(tmp_path, model.adapter, model.config, model.base, BOS)
    record = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(record | {"use_dora": True}))
    with pytest.raises(AdapterError, match="use_dora=True"):
        read_peft(tmp_path, model.base)
    for name, wrong in (("r", None), ("r", 0), ("r", "8"), ("lora_alpha", None), ("peft_type", "IA3")):
        changed = {**record, name: wrong}
        (tmp_path / "adapter_config.json").write_text(json.dumps({n: v for n, v in changed.items() if v is not None}))
        with pytest.raises(AdapterError, match=f"what is converted is a LoRA.*`{name}`|'{name}': '{wrong}'"):
            read_peft(tmp_path, model.base)
    (tmp_path / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(AdapterError, match="no attention projection of this base"):
        read_peft(tmp_path, tiny_base("gpt2"))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(AdapterError, match=r"not a readable safetensors file .*Fetch it again"):
        read_peft(tmp_path, model.base)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"not a readable safetensors file .*pickles, which are not read"):
        read_peft(tmp_path, model.base)
