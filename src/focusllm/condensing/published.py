"""Reading candidate projections that carry the names of the authors' code."""

from collections.abc import Mapping

from torch import Tensor

from focusllm.condensing.adapter_files import fill_parameters
from focusllm.condensing.attach import CandidateAdapter
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError


def read_published(state_dict: Mapping[str, Tensor], adapter: CandidateAdapter, config: FocusConfig) -> None:
    """Fill an adapter from ``model.layers.N.self_attn.beacon_{q,k,v,o}_proj.weight`` (and ``.bias``).

    The published checkpoint also has query and output projections for the last layer, which are never read,
    and other entries; both are passed over.

    Raises:
        AdapterError: A weight is missing or has another shape.
        ConfigurationError: The adapter is low-rank.
    """
    if config.rank is not None:
        raise ConfigurationError(
            f"The published weights are full projections; this adapter has rank {config.rank}. Use `rank=None`."
        )
    found: dict[str, Tensor] = {}
    for name in adapter.parameters():
        _, layer, role, parameter = name.split(".")
        theirs = f"model.layers.{layer}.self_attn.beacon_{role}_proj.{parameter.removeprefix('candidate_')}"
        if theirs in state_dict:
            found[name] = state_dict[theirs]
    fill_parameters(adapter, found, "The published state dict")
