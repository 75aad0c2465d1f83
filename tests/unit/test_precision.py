"""Which precisions a processor has arithmetic for, by what PyTorch says of it."""

import pytest
import torch

from focusllm.precision import is_emulated

PROCESSORS: dict[str, tuple[dict[str, object], set[torch.dtype]]] = {
    "x86 of 2019": (
        {"avx512_f": True, "avx512_bf16": False},
        {torch.bfloat16, torch.float16},
    ),
    "with AMX": ({"amx_bf16": True, "avx512_fp16": True}, set()),
    "with AVX-512 BF16": ({"avx512_bf16": True}, {torch.float16}),
    "ARM of 2020": ({"fp16_arith": True, "bf16": False}, {torch.bfloat16}),
}


@pytest.mark.parametrize(("capabilities", "emulated"), PROCESSORS.values(), ids=PROCESSORS)
def test_what_has_no_instructions_is_emulated(
    capabilities: dict[str, object], emulated: set[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    assert {kind for kind in kinds if is_emulated(kind, torch.device("cpu"))} == emulated
    assert not any(is_emulated(kind, torch.device("cuda")) for kind in kinds)


def test_an_older_pytorch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not is_emulated(torch.float16, torch.device("cpu"))
