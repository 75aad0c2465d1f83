"""Which precisions the processor has arithmetic for. Source: ours."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

# Any of these, as PyTorch calls them, on x86 and on ARM.
_INSTRUCTIONS: Mapping[torch.dtype, tuple[str, ...]] = {
    torch.bfloat16: ("amx_bf16", "avx512_bf16", "avx10_2", "bf16", "sve_bf16"),
    torch.float16: ("amx_fp16", "avx512_fp16", "avx10_2", "fp16_arith"),
}


def is_emulated(dtype: torch.dtype, device: torch.device) -> bool:
    """Say whether a device is a CPU that lacks instructions for a precision: bfloat16 on many, float16 on most.

    PyTorch emulates it then, which takes several times as long as single precision. Of what an older PyTorch
    cannot tell, the processor is taken to have it.
    """
    capabilities: Callable[[], Mapping[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    if device.type != "cpu" or capabilities is None or dtype not in _INSTRUCTIONS:
        return False
    return not any(capabilities().get(name, False) for name in _INSTRUCTIONS[dtype])
