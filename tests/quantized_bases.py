"""Tiny random bases whose weights each library for it keeps in fewer bits, and the weights these bits stand for."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from focusllm.condensing.projections import is_dense
from tiny import tiny_base

# Widths that a group fits into.
GROUP = 32
# How far results may be from those of the weights the bits stand for, of their largest: in 16 bits where the library
# restores or computes in those. bitsandbytes' 8 bits round what the weights are multiplied with, too.
TOLERANCES = {"gptq": 5e-3, "awq": 5e-3, "bitsandbytes int8": 6e-2}


def plain_base(family: str) -> Any:
    """Return the base before its weights are put into fewer bits."""
    return tiny_base(family, torch.float32, hidden_size=2 * GROUP, intermediate_size=4 * GROUP)


def _torchao(family: str, _: Path, way: str) -> Any:
    library = import_module("torchao.quantization")
    base = plain_base(family)
    settings = {
        "int8": library.Int8WeightOnlyConfig(),
        "int4": library.IntxWeightOnlyConfig(weight_dtype=torch.int4),
    }
    library.quantize_(base.model, settings[way])
    return base


BITSANDBYTES: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
}


def _bitsandbytes(family: str, folder: Path, way: str) -> Any:
    plain_base(family).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=BITSANDBYTES[way])


def _hqq(family: str, _: Path, way: str) -> Any:
    """Layers by the library's own hand: transformers 5 cannot make them yet."""
    library = import_module("hqq.core.quantize")
    settings = library.BaseQuantizeConfig(nbits=int(way[-1]), group_size=GROUP)
    base = plain_base(family).requires_grad_(False)
    for name, layer in list(base.model.named_modules()):
        if isinstance(layer, nn.Linear):
            other = library.HQQLinear(layer, settings, compute_dtype=torch.float32, device="cpu")
            base.model.set_submodule(name, other)
    return base


def _compressed_tensors(family: str, folder: Path, way: str) -> Any:
    """A checkpoint by the library's own hand, that transformers reads."""
    library, compressors = (
        import_module(f"compressed_tensors.{name}") for name in ("quantization", "compressors")
    )  # fmt: skip
    bits = int(way[-1])
    weights = library.QuantizationArgs(num_bits=bits, type="int", symmetric=True, strategy="channel")
    scheme = library.QuantizationScheme(targets=["Linear"], weights=weights)
    base = plain_base(family)
    library.apply_quantization_config(
        base, library.QuantizationConfig(config_groups={"all": scheme}, ignore=["lm_head"])
    )
    dense = {}
    for name, layer in base.named_modules():
        if hasattr(layer, "weight_scale"):
            scale = layer.weight.data.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
            layer.weight_scale.data = scale
            dense[name] = (layer.weight.data / scale).round() * scale
    compressor = compressors.ModelCompressor.from_pretrained_model(base)
    compressor.compress_model(base)
    base.save_pretrained(folder)
    compressor.update_config(folder)
    return _loaded(folder, dense)


def _loaded(folder: Path, dense: dict[str, Tensor]) -> Any:
    """Load a checkpoint, and write on its layers what they stand for."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, weight in dense.items():
        base.get_submodule(name).stands_for = weight
    return base


def _packed(values: Tensor, order: Sequence[int] = range(8)) -> Tensor:
    """Put eight numbers of four bits, side by side in the last dimension, into one of 32 bits."""
    eights = values.long().unflatten(-1, (-1, 8))[..., list(order)]
    whole = sum(eights[..., place] << 4 * place for place in range(8))
    return torch.where(whole >= 2**31, whole - 2**32, whole).int().contiguous()


def _in_four_bits(weight: Tensor, form: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return a weight as checkpoints of GPTQ or AWQ hold it, and what that stands for; written from their formats."""
    groups = weight.T.unflatten(0, (-1, GROUP))
    scales = ((groups.amax(1) - groups.amin(1)) / 15).half()
    zeros = (-groups.amin(1) / scales.float()).round().clamp(1, 15)
    codes = (groups / scales.float().unsqueeze(1) + zeros.unsqueeze(1)).round().clamp(0, 15)
    dense = ((codes - zeros.unsqueeze(1)) * scales.float().unsqueeze(1)).flatten(0, 1).T.contiguous()
    flat = codes.flatten(0, 1)
    if form == "gptq":
        of_group = (torch.arange(len(flat)) // GROUP).int()
        stored = {"qweight": _packed(flat.T).T.contiguous(), "qzeros": _packed(zeros - 1), "g_idx": of_group}
    else:
        order = (0, 2, 4, 6, 1, 3, 5, 7)
        stored = {"qweight": _packed(flat, order), "qzeros": _packed(zeros, order)}
    return {**stored, "scales": scales}, dense


_FORMS: dict[str, dict[str, Any]] = {
    # Of gptqmodel's layers, those that need no compiler.
    "gptq": {"quant_method": "gptq", "sym": False, "desc_act": False, "backend": "gptq_torch"},
    "awq": {"quant_method": "awq", "version": "gemm", "zero_point": True, "backend": "torch_awq"},
}


def _four_bit_checkpoint(family: str, folder: Path, form: str) -> Any:
    plain_base(family).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    dense = {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        stem = name.removesuffix(".weight")
        stored, dense[stem] = _in_four_bits(tensors.pop(name), form)
        tensors |= {f"{stem}.{part}": value for part, value in stored.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"bits": 4, "group_size": GROUP, **_FORMS[form]}
    (folder / "config.json").write_text(json.dumps(config))
    return _loaded(folder, dense)


_MAKERS: dict[str, tuple[str, Callable[[str, Path, str], Any]]] = {
    "torchao": ("torchao.quantization", _torchao),
    "bitsandbytes": ("bitsandbytes", _bitsandbytes),
    "hqq": ("hqq.core.quantize", _hqq),
    "compressed-tensors": ("compressed_tensors", _compressed_tensors),
    "gptq": ("gptqmodel", _four_bit_checkpoint),
    "awq": ("gptqmodel", _four_bit_checkpoint),
}
WAYS = (
    "torchao int8", "torchao int4", "bitsandbytes int8", "bitsandbytes nf4", "bitsandbytes fp4", "hqq int8", "hqq int4",
    "compressed-tensors int8", "compressed-tensors int4", "gptq", "awq",
)  # fmt: skip


def quantized(way: str, family: str, folder: Path) -> Any:
    """Return a base with its weights in fewer bits; skips the test where the library is missing."""
    name, _, kind = way.partition(" ")
    library, make = _MAKERS[name]
    pytest.importorskip(library)
    return make(family, folder / "quantized", kind or name)


def weight_stood_for(layer: Any) -> Tensor:
    """Return the weight a quantized layer's bits stand for, by its format or its library's word."""
    if hasattr(layer, "stands_for"):
        return layer.stands_for
    if hasattr(layer, "W_q"):
        return layer.dequantize()
    kind = type(layer.weight).__name__
    if kind == "Int8Params":
        return layer.weight.data * layer.weight.SCB[:, None] / 127
    if kind == "Params4bit":
        functional = import_module("bitsandbytes.functional")
        return functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return layer.weight.dequantize()


def with_dense_weights(quantized_base: Any, family: str) -> Any:
    """Return a base with, as ordinary numbers, the weights that a fresh quantized one's bits stand for."""
    base = plain_base(family)
    for name, layer in quantized_base.named_modules():
        if hasattr(layer, "in_features") and not is_dense(layer):
            base.get_submodule(name).weight.data = weight_stood_for(layer).detach().clone()
    return base
