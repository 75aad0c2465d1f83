"""Runs the command with what accelerate would do on GPUs, which it asks for by name before it divides a model (FSDP).

Nothing else is changed: the processes talk over gloo, and everything stays on the CPU.
"""

from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType

from focusllm.cli.main import main

_init = PartialState.__init__


def _like_gpus(self: PartialState, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState.__init__ = _like_gpus  # type: ignore[method-assign]
    main()
