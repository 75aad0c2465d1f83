"""Put candidate projections into a base model in place, and take them out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from focusllm.condensing.families import attention_modules, family_of
from focusllm.condensing.family_table import AttentionFamily
from focusllm.condensing.projections import CandidateGate, CandidateProjection
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, UnsupportedModelError

# Of the last layer only the candidate's key and value are ever read: its query and output lead nowhere.
_LAST_LAYER_ROLES = ("k", "v", "kv", "qkv")


class CandidateAdapter:
    """The candidate projections of one base model, attached or detached.

    Args:
        base: A transformers causal language model of a supported family; its parameters are frozen.
        config: Which projections candidates have, and of what rank.

    Raises:
        UnsupportedModelError: The family is not supported, or a projection is not a linear layer.
        ConfigurationError: The projections that are to be trained cannot be had apart, or there are none; or the base
            is spread over several devices.
    """

    def __init__(self, base: PreTrainedModel, config: FocusConfig) -> None:
        _check_on_one_device(base)
        self.gate = CandidateGate()
        self._base = base
        base.requires_grad_(False)
        _settle(base)
        self.projections: dict[str, CandidateProjection] = {}
        self._places: dict[str, tuple[nn.Module, str]] = {}
        attentions = attention_modules(base, self.family)
        for layer_index, attention in enumerate(attentions):
            is_last = layer_index == len(attentions) - 1
            for role in self.family.roles_of(config.candidate_projections):
                if not is_last or role in _LAST_LAYER_ROLES:
                    attribute = self.family.attribute_of(attention, role)
                    self._add(f"layers.{layer_index}.{role}", attention, attribute, config.rank)
        if not self.projections:
            raise ConfigurationError(
                f"candidate_projections={config.candidate_projections} leave nothing to train in a base of one layer."
            )
        self.is_attached = False
        self.attach()

    @property
    def family(self) -> AttentionFamily:
        """The row of the base's architecture."""
        return family_of(self._base)

    def _add(self, name: str, attention: nn.Module, attribute: str, rank: int | None) -> None:
        layer = getattr(attention, attribute)
        if isinstance(layer, CandidateProjection):
            raise ConfigurationError("The base already carries candidate projections; detach them first.")
        # Quantized layers of other libraries are not PyTorch's, but say their sizes as those do.
        if not isinstance(layer, Conv1D) and not hasattr(layer, "in_features"):
            raise UnsupportedModelError(f"{attribute} of {name} is a {type(layer).__name__}; a linear layer is needed.")
        self.projections[name] = CandidateProjection(layer, self.gate, rank, self._base.dtype)
        self._places[name] = (attention, attribute)

    def attach(self) -> None:
        """Put the candidate projections in place of the base's."""
        for name, (attention, attribute) in self._places.items():
            setattr(attention, attribute, self.projections[name])
        self.is_attached = True

    def detach(self) -> None:
        """Put the base's own projections back; the base is then exactly what it was."""
        for name, (attention, attribute) in self._places.items():
            setattr(attention, attribute, self.projections[name].base_layer)
        self.is_attached = False

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Take the candidate projections out for the ``with`` block."""
        was_attached = self.is_attached
        self.detach()
        try:
            yield
        finally:
            if was_attached:
                self.attach()

    @property
    def is_untrained(self) -> bool:
        """Whether candidates are still what ordinary last tokens are: no adapter was loaded, and none trained."""
        return all(projection.is_untrained for projection in self.projections.values())

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return every trained parameter by a name that is the same for all families: ``layers.N.ROLE.…``."""
        return {
            f"{name}.{parameter_name}": parameter
            for name, projection in self.projections.items()
            for parameter_name, parameter in projection.candidate_parameters().items()
        }


def _check_on_one_device(base: PreTrainedModel) -> None:
    devices = sorted({str(parameter.device) for parameter in base.parameters()})
    if len(devices) > 1:
        raise ConfigurationError(
            f"The base is spread over several devices ({', '.join(devices)}); it must be on one, with the keys and "
            f"values of chunks. Load it without `device_map`, and in fewer bits if need be (`quantization_config`). "
            f"Several GPUs can share the chunks instead (`torchrun`, `process_group`), each with the whole base."
        )


def _settle(base: PreTrainedModel) -> None:
    """Have libraries for quantized weights bring them, once and for all, into the form layers called alone can use."""
    # On some CPUs bitsandbytes packs 4-bit weights at the first call, for a product in bfloat16 without gradients.
    packing: list[Any] = [module for module in base.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    for module in packing:
        module.support_avx512bf16_for_cpu = False
        # What was packed before is unpacked to be saved.
        module.state_dict()
    # compressed-tensors restores its weights in the first pass through the whole base.
    if hasattr(base, "ct_decompress_hook"):
        with torch.no_grad():
            base(input_ids=torch.zeros((1, 1), dtype=torch.long, device=base.device), use_cache=False)
