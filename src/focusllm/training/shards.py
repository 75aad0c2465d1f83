"""Parameters that are divided among processes: put together to be written. Sources: FSDP2, DeepSpeed's ZeRO-3."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def whole(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return parameters as whole tensors; all processes call it together where they are divided among them."""
    # DeepSpeed's mark of a parameter that it has divided.
    if any(hasattr(value, "ds_id") for value in parameters.values()):
        from deepspeed import zero  # pyright: ignore[reportMissingImports]

        with zero.GatheredParameters(list(parameters.values())):
            return {name: value.detach().clone() for name, value in parameters.items()}
    return {
        name: value.full_tensor() if isinstance(value, DTensor) else value.detach()
        for name, value in parameters.items()
    }
