"""Reading candidate projections that carry the names of the authors' code."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from focusllm.condensing.adapter_files import advice_on_pickles, fill_parameters, unreadable
from focusllm.condensing.attach import CandidateAdapter
from focusllm.config import FocusConfig
from focusllm.errors import AdapterError, ConfigurationError

# What the names of the authors' projections have in common.
_MARK = ".self_attn.beacon_"


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the candidate projections out of a checkpoint of the authors' code; everything else is passed over.

    Args:
        path: A safetensors file, or a folder that holds some.

    Raises:
        AdapterError: There is no such file, it is damaged, or it holds no candidate projections.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if not files:
        reason = "no .safetensors files" if path.is_dir() else "nothing"
        raise AdapterError(f"There is {reason} at {path}.{advice_on_pickles(path)}")
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                found |= {name: opened.get_tensor(name) for name in opened.keys() if _MARK in name}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise unreadable(file, error, file) from error
    if not found:
        raise AdapterError(f"{path} holds no weights named …{_MARK}q_proj and the like, which is what is converted.")
    return found


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
