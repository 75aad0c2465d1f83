"""Modes of PyTorch and of a base, which passes must not depend on. Source: ours."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def without_gradients(method: Callable[P, R]) -> Callable[P, R]:
    """Run a method without gradients, in a way that what it makes can be changed later.

    Tensors made in inference mode cannot be changed outside of it, where a document that was indexed in it may be
    asked.
    """
    return torch.inference_mode(mode=False)(torch.no_grad()(method))


def precision_of(parameter: torch.Tensor) -> str:
    """Name the precision that passes over a parameter give: its own, or what PyTorch makes of it under autocast."""
    names, kind = [parameter.dtype], parameter.device.type
    if torch.is_autocast_enabled(kind):
        names.append(torch.get_autocast_dtype(kind))
    return " under autocast to ".join(str(name).removeprefix("torch.") for name in names)
