"""Modes of PyTorch and of a base, which passes must not depend on. Source: ours."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from transformers import PreTrainedModel

from focusllm.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")


def without_gradients(method: Callable[P, R]) -> Callable[P, R]:
    """Run a method without gradients, in a way that what it makes can be changed later.

    Tensors made in inference mode cannot be changed outside of it, where a document that was indexed in it may be
    asked.
    """
    return torch.inference_mode(mode=False)(torch.no_grad()(method))


def check_keeps_states(base: PreTrainedModel) -> None:
    """Check that a base keeps the keys and values it computes.

    Raises:
        ConfigurationError: It is trained with gradient checkpointing, and would take no notice of its cache.
    """
    if any(module.training and getattr(module, "gradient_checkpointing", False) for module in base.modules()):
        raise ConfigurationError(
            "The base is in training mode with gradient checkpointing, in which it keeps no keys and values: call "
            "`model.eval()` before it reads or answers."
        )


def precision_of(parameter: torch.Tensor) -> str:
    """Name the precision that passes over a parameter give: its own, or what PyTorch makes of it under autocast."""
    names, kind = [parameter.dtype], parameter.device.type
    if torch.is_autocast_enabled(kind):
        names.append(torch.get_autocast_dtype(kind))
    return " under autocast to ".join(str(name).removeprefix("torch.") for name in names)
