"""Where keys and values of chunks lie: on the device, in CPU memory beside a GPU, in a folder. Source: ours."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from focusllm.cache.homes import Home, LayerTensors, bytes_of
from focusllm.cache.memory import free_bytes
from focusllm.errors import ConfigurationError

# Keys and values of a batch, where not all stay on the device: two of these are there at a time, in use and read ahead.
_PASSING_BATCH_BYTES = 128 * 2**20
# Part of the free memory that is taken when the user does not say; questions need some, too.
_FREE_SHARE = 0.5


@dataclass(frozen=True)
class Budgets:
    """Bytes of keys and values that may lie in each tier; the folder, the last one, has no limit.

    Attributes:
        device: On the model's device.
        cpu: In CPU memory, where the device has memory of its own.
    """

    device: int
    cpu: int

    @classmethod
    def chosen(cls, device: torch.device, device_bytes: int | None, cpu_bytes: int | None) -> "Budgets":
        """Return the budgets of a user; ``None`` takes half of what is free, and no CPU memory beside the CPU.

        Raises:
            ConfigurationError: One is no number of bytes.
        """
        for name, given in (("device_budget", device_bytes), ("cpu_budget", cpu_bytes)):
            if given is not None and (not isinstance(given, int | float) or not given >= 0):
                raise ConfigurationError(f"`{name}` must be a number of bytes, 0 or more; got {given!r}.")
        if device_bytes is None:
            device_bytes = int(free_bytes(device) * _FREE_SHARE)
        if cpu_bytes is None:
            cpu_bytes = 0 if device.type == "cpu" else int(free_bytes(torch.device("cpu")) * _FREE_SHARE)
        return cls(device_bytes, cpu_bytes)

    def batch_bytes(self, num_bytes: int) -> int | None:
        """Return how large the batches of a document of so many bytes should be; ``None`` where all of it stays."""
        return None if num_bytes <= self.device else _PASSING_BATCH_BYTES

    def shared_out(self, num_bytes: int) -> dict[str, int]:
        """Return how many of so many bytes would lie in each tier: "device", "cpu" and "folder"."""
        on_device = min(num_bytes, self.device)
        in_cpu_memory = min(num_bytes - on_device, self.cpu)
        return {"device": on_device, "cpu": in_cpu_memory, "folder": num_bytes - on_device - in_cpu_memory}


class CpuHome:
    """Keys and values of a batch of chunks in CPU memory, from where a GPU takes them without waiting for a disk.

    Args:
        at_hand: The keys and values, if they are at hand.
        beneath: Where else they can be had from, once; then they are kept here.
    """

    def __init__(self, at_hand: LayerTensors | None, beneath: Home | None) -> None:
        self._kept = [] if at_hand is None else [_in_cpu_memory(at_hand)]
        self._beneath = beneath

    def parts(self) -> Iterator[LayerTensors]:
        """Yield keys and values of each layer."""
        if not self._kept:
            assert self._beneath is not None  # it was made of one or the other
            self._kept = [_in_cpu_memory(part) for part in self._beneath.parts()]
        yield from self._kept

    def num_bytes(self) -> int:
        """Return how many bytes they take here, or will."""
        if not self._kept:
            return 0 if self._beneath is None else self._beneath.num_bytes()
        return sum(map(bytes_of, self._kept))

    def beside(self, layers: LayerTensors) -> "CpuHome":
        """Keep what came behind the chunks in CPU memory, too."""
        return CpuHome(layers, None)


def _in_cpu_memory(layers: LayerTensors) -> LayerTensors:
    """Copy to memory that a GPU, if there is one, can read by itself."""
    is_pinned = torch.cuda.is_available()
    return [
        (
            torch.empty_like(keys, device="cpu", pin_memory=is_pinned).copy_(keys),
            torch.empty_like(values, device="cpu", pin_memory=is_pinned).copy_(values),
        )
        for keys, values in layers
    ]
