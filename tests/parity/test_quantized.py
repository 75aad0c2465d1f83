"""Bases whose weights are kept in fewer bits: all is as with the weights these bits stand for."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import CONFIG, EXAMPLES, packed_like_decoding
from torch import nn

from focusllm import FocusModel
from focusllm.condensing.adapter_files import fingerprint_of, load_adapter
from focusllm.condensing.projections import dense_weight, is_dense
from focusllm.training.copying import copy_hidden_states
from tiny import SMALL, disturb, random_ids, tiny_base

quantization = pytest.importorskip("torchao.quantization")
pytestmark = pytest.mark.filterwarnings("ignore")
WAYS = {
    "int8": quantization.Int8WeightOnlyConfig(),
    "int4": quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4),
}
FAMILIES = ("llama", "qwen2", "phi3")


def quantized(family: str, way: str) -> Any:
    base = tiny_base(family, torch.float32)
    quantization.quantize_(base.model, WAYS[way])
    return base


def with_dense_weights(base: Any) -> Any:
    """Put ordinary layers, with the weights the bits stand for, in the place of quantized ones."""
    base = deepcopy(base)
    for module in list(base.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Linear) and not is_dense(layer):
                dense = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                dense.weight = nn.Parameter(layer.weight.dequantize())
                if layer.bias is not None:
                    dense.bias = layer.bias
                setattr(module, name, dense)
    return base


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [None, 2])
def test_a_quantized_base_reads_as_the_weights_its_bits_stand_for(family: str, way: str, rank: int | None) -> None:
    base = quantized(family, way)
    attention = base.model.layers[0].self_attn
    layer = attention.qkv_proj if family == "phi3" else attention.q_proj
    assert not is_dense(layer)
    assert (dense_weight(layer, torch.float32) - layer.weight.dequantize()).abs().max() <= 1e-5
    ids = torch.tensor([random_ids(150)])
    scores = []
    for one in (base, with_dense_weights(base)):
        torch.manual_seed(0)
        model = FocusModel(one, replace(SMALL, rank=rank)).eval()
        disturb(model)
        state = model.prefill(ids)
        scores.append(torch.stack((state.logits, model.step(state, torch.tensor([5])).logits)))
    assert (scores[0] - scores[1]).abs().max() <= 1e-4 * scores[1].abs().max()


@pytest.mark.parametrize("way", WAYS)
def test_adapters_of_quantized_bases_are_trained_and_start_as_others_do(way: str) -> None:
    model = FocusModel(quantized("llama", way), CONFIG).eval()
    copy_hidden_states(model.base, model.adapter, torch.tensor([random_ids(40, seed) for seed in range(4)]))
    result, _ = packed_like_decoding(model, EXAMPLES, 1e-4)
    result.loss.backward()
    assert all(value.grad is not None for value in model.adapter.parameters().values())
    assert all(parameter.grad is None for name, parameter in model.base.named_parameters() if "candidate_" not in name)


def test_an_adapter_goes_from_a_dense_base_to_a_quantized_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dense = FocusModel(tiny_base("llama", torch.float32), SMALL).eval()
    disturb(dense)
    dense.save_adapter(tmp_path)
    model = FocusModel(quantized("llama", "int8"), SMALL).eval()
    assert fingerprint_of(model.base) == "quantized"
    load_adapter(tmp_path, model.adapter, model.base)
    assert "cannot be told of quantized weights" in caplog.text
    for name, value in model.adapter.parameters().items():
        assert torch.equal(value, dense.adapter.parameters()[name])
    # Documents can be told apart by the base they were read with.
    assert model.index(random_ids(60)).identity != dense.index(random_ids(60)).identity
