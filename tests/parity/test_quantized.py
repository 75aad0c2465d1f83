"""Bases whose weights are kept in fewer bits: all is as with the weights these bits stand for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import CONFIG, EXAMPLES, packed_like_decoding

from focusllm import FocusModel
from focusllm.condensing.adapter_files import fingerprint_of, load_adapter
from focusllm.condensing.fingerprints import weights_fingerprint
from focusllm.condensing.projections import dense_weight, is_dense
from focusllm.errors import MissingDependencyError
from focusllm.training.copying import copy_hidden_states
from quantized_bases import TOLERANCES, WAYS, plain_base, quantized, weight_stood_for, with_dense_weights
from tiny import SMALL, disturb, random_ids, save_tiny_base

pytestmark = pytest.mark.filterwarnings("ignore")
# Checkpoints of GPTQ and AWQ are made for llama alone.
CASES = [(way, "llama") for way in WAYS] + [(way, "qwen2") for way in WAYS if " " in way]
CASES += [(way, "phi3") for way in ("torchao int8", "bitsandbytes nf4")]


@pytest.mark.parametrize(("way", "family"), CASES)
@pytest.mark.parametrize("rank", [None, 2])
def test_a_quantized_base_reads_as_the_weights_its_bits_stand_for(
    way: str, family: str, rank: int | None, tmp_path: Path
) -> None:
    base = quantized(way, family, tmp_path)
    dense = with_dense_weights(base, family)
    attention = base.model.layers[0].self_attn
    layer = attention.qkv_proj if family == "phi3" else attention.q_proj
    assert not is_dense(layer)
    stands_for = weight_stood_for(layer)
    tolerance = TOLERANCES.get(way, 1e-4)
    ids = torch.tensor([random_ids(150)])
    scores = []
    for one in (base, dense):
        torch.manual_seed(0)
        model = FocusModel(one, replace(SMALL, rank=rank)).eval()
        disturb(model)
        if one is base:
            # Each weight by itself is exact, but for the 16 bits that some are restored in.
            assert (dense_weight(layer, torch.float32) - stands_for).abs().max() <= 1e-3 * stands_for.abs().max()
        state = model.prefill(ids)
        scores.append(torch.stack((state.logits, model.step(state, torch.tensor([5])).logits)))
    assert (scores[0] - scores[1]).abs().max() <= tolerance * scores[1].abs().max()


@pytest.mark.parametrize("way", WAYS)
def test_adapters_of_quantized_bases_are_trained_and_start_as_others_do(way: str, tmp_path: Path) -> None:
    gradients = []
    base = quantized(way, "llama", tmp_path)
    for one in (base, with_dense_weights(base, "llama")):
        model = FocusModel(one, CONFIG).eval()
        copy_hidden_states(model.base, model.adapter, torch.tensor([random_ids(40, seed) for seed in range(4)]))
        result, _ = packed_like_decoding(model, EXAMPLES, TOLERANCES.get(way, 1e-4))
        result.loss.backward()
        gradients.append([value.grad for value in model.adapter.parameters().values()])
        frozen = [value for name, value in model.base.named_parameters() if "candidate_" not in name]
        assert all(parameter.grad is None for parameter in frozen)
    for found, wanted in zip(*gradients, strict=True):
        assert found is not None
        assert (found - wanted).norm() <= 10 * TOLERANCES.get(way, 1e-4) * wanted.norm()


@pytest.mark.parametrize("way", ["torchao int8", "bitsandbytes nf4", "compressed-tensors int4", "gptq"])
def test_an_adapter_goes_from_a_dense_base_to_a_quantized_one(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = quantized(way, "llama", tmp_path)
    dense = FocusModel(plain_base("llama"), SMALL).eval()
    disturb(dense)
    dense.save_adapter(tmp_path)
    model = FocusModel(base, SMALL).eval()
    assert fingerprint_of(model.base) == "quantized"
    load_adapter(tmp_path, model.adapter, model.base)
    assert "cannot be told of quantized weights" in caplog.text
    for name, value in model.adapter.parameters().items():
        assert torch.equal(value, dense.adapter.parameters()[name])
    # Documents can be told apart by the base they were read with.
    assert model.index(random_ids(60)).identity != dense.index(random_ids(60)).identity


def test_quantized_bases_are_told_apart_by_their_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = quantized("torchao int8", "llama", tmp_path)
    weight = base.model.layers[1].mlp.up_proj.weight
    before = weights_fingerprint(base)

    def restore(_: object) -> None:
        raise AssertionError

    # Whole weights need not be restored for it, which would take longer than many a question.
    monkeypatch.setattr(type(weight), "dequantize", restore)
    assert weights_fingerprint(base) == before
    scales = next(getattr(weight, name) for name in weight.__tensor_flatten__()[0] if "scale" in name)
    scales.data.mul_(2)
    assert weights_fingerprint(base) != before


def test_a_base_is_put_into_fewer_bits_as_it_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    save_tiny_base(tmp_path)
    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    model = FocusModel.from_pretrained(tmp_path, device="cpu", quantization_config=options)
    assert fingerprint_of(model.base) == "quantized"
    before = model.index(random_ids(60)).identity
    model.prefill(torch.tensor([random_ids(150)]))
    assert model.index(random_ids(60)).identity == before


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_base(tmp_path)
    missing = "transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available"
    monkeypatch.setattr(missing, lambda *_, **__: False)
    with pytest.raises(MissingDependencyError, match="bitsandbytes"):
        FocusModel.from_pretrained(tmp_path, device="cpu", quantization_config={"load_in_4bit": True})
