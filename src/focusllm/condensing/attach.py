"""Put candidate projections into a base model in place, and take them out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from focusllm.chunking import check_vocabulary
from focusllm.condensing.families import attention_modules, check_supported, family_of, vocabulary_of
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
        UnsupportedModelError: The base is no causal language model, its family is not supported, or a projection is
            not a linear layer.
        ConfigurationError: The projections that are to be trained cannot be had apart, or there are none; or the base
            is offloaded, or spread over several devices.
        InputError: A token of the static prompt is not in the base's vocabulary.
    """

    def __init__(self, base: PreTrainedModel, config: FocusConfig) -> None:
        _check_language_model(base)
        _check_at_hand(base)
        _check_on_one_device(base)
        check_vocabulary(config.static_prompt, vocabulary_of(base))
        self.gate = CandidateGate()
        self._base = base
        self._places = self._places_for(config)
        # Until here the base may have been refused, and is as it was.
        base.requires_grad_(False)
        _settle(base)
        self.projections = {
            name: CandidateProjection(getattr(attention, attribute), self.gate, config.rank, base.dtype)
            for name, (attention, attribute) in self._places.items()
        }
        self.attach()

    def __repr__(self) -> str:
        return f"CandidateAdapter({self.num_parameters:,} parameters, {'attached' if self.is_attached else 'detached'})"

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters().values())

    @property
    def family(self) -> AttentionFamily:
        """The row of the base's architecture."""
        return family_of(self._base)

    def _places_for(self, config: FocusConfig) -> dict[str, tuple[nn.Module, str]]:
        """Return, by names like ``layers.N.ROLE``, the modules and attributes whose projections candidates have too."""
        attentions = attention_modules(self._base, self.family)
        places = {}
        for layer_index, attention in enumerate(attentions):
            is_last = layer_index == len(attentions) - 1
            for role in self.family.roles_in(attention, config.candidate_projections):
                if not is_last or role in _LAST_LAYER_ROLES:
                    name, attribute = f"layers.{layer_index}.{role}", self.family.attribute_of(attention, role)
                    _check_projection(getattr(attention, attribute), f"{attribute} of {name}")
                    places[name] = attention, attribute
        if not places:
            raise ConfigurationError(
                f"candidate_projections={config.candidate_projections} leave nothing to train in a base of one layer."
            )
        return places

    @property
    def is_attached(self) -> bool:
        """Whether the candidate projections stand in the base."""
        return all(self._stands(name) for name in self._places)

    def _stands(self, name: str) -> bool:
        attention, attribute = self._places[name]
        return getattr(attention, attribute) is self.projections[name]

    def attach(self) -> None:
        """Put the candidate projections in place of the base's.

        Raises:
            ConfigurationError: Those of another adapter are there.
        """
        for name, (attention, attribute) in self._places.items():
            if not self._stands(name):
                _check_bare(getattr(attention, attribute))
        for name, (attention, attribute) in self._places.items():
            setattr(attention, attribute, self.projections[name])

    def detach(self) -> None:
        """Put the base's own projections back where those of this adapter stand; the base is then what it was."""
        for name, (attention, attribute) in self._places.items():
            if self._stands(name):
                setattr(attention, attribute, self.projections[name].base_layer)

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


def _check_language_model(base: Any) -> None:
    # A compiled model stands around the one that is meant.
    if not isinstance(getattr(base, "_orig_mod", base), PreTrainedModel):
        raise UnsupportedModelError(
            f"The base must be a causal language model of transformers'; got a {type(base).__name__}. Load one by its "
            f"name with `FocusModel.from_pretrained`; merge a LoRA of PEFT's into it first (`merge_and_unload()`)."
        )
    check_supported(base.config)
    if not base.can_generate():
        raise UnsupportedModelError(
            f"A {type(base).__name__} gives no scores of next tokens: load the base with `AutoModelForCausalLM`."
        )


def _check_bare(layer: nn.Module) -> None:
    if isinstance(layer, CandidateProjection):
        raise ConfigurationError("The base already carries candidate projections; detach them first.")


def _check_projection(layer: nn.Module, name: str) -> None:
    _check_bare(layer)
    # PEFT's layers have the weight of what they are put around, and compute something else.
    if hasattr(layer, "base_layer"):
        raise UnsupportedModelError(f"{name} carries an adapter: merge it into the base first (`merge_and_unload()`).")
    # Quantized layers of other libraries are not PyTorch's, but say their sizes as those do.
    if not isinstance(layer, Conv1D) and not hasattr(layer, "in_features"):
        raise UnsupportedModelError(f"{name} is a {type(layer).__name__}; a linear layer is needed.")


def _check_at_hand(base: PreTrainedModel) -> None:
    # What accelerate offloads is there only while the module it belongs to runs; candidates use weights by themselves.
    if any(getattr(getattr(module, "_hf_hook", None), "offload", False) for module in base.modules()):
        raise ConfigurationError(
            "Weights of the base are offloaded by accelerate, to CPU memory or disk, from where they are brought only "
            "while their own layer runs; FocusLLM needs all of them on one device. Load the base without `device_map` "
            "and `cpu_offload`, and in fewer bits if need be (`quantization_config`)."
        )


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
