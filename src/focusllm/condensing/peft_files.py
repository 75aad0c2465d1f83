"""Low-rank candidate projections in PEFT's LoRA format, and back.

PEFT's activated LoRA adds ``scaling * B(A(x))`` to the last tokens of a sequence only. With ``alora_offsets=[1]`` for
every row that is the last token: what a low-rank candidate projection is. Source: PEFT's ``LoraConfig`` and its file
layout; Activated LoRA, arXiv 2504.12397.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from focusllm.condensing.adapter_files import CONFIG_NAME, WEIGHTS_NAME, base_name_of, unreadable, write_weights
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.families import attention_modules, family_of
from focusllm.condensing.hub import split_revision
from focusllm.config import FocusConfig
from focusllm.errors import AdapterError, ConfigurationError
from focusllm.files import write_text

# PEFT's name for our two matrices.
_PARTS = {"candidate_down": "lora_A", "candidate_up": "lora_B"}
_PREFIX = "base_model.model."
# Settings under which an adapter is more than A and B.
_PLAIN: Mapping[str, Any] = {
    "bias": "none", "use_dora": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
    "lora_bias": False, "layer_replication": None,
}  # fmt: skip
# Ways to start that take out of the base's weights what A and B begin with.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def is_peft(folder: str | Path) -> bool:
    """Say whether a folder holds an adapter of PEFT's."""
    return "peft_type" in _config_of(Path(folder)) if (Path(folder) / CONFIG_NAME).is_file() else False


def save_as_peft(
    folder: str | Path, adapter: CandidateAdapter, config: FocusConfig, base: PreTrainedModel, invocation: int
) -> None:
    """Write a low-rank adapter as a folder that PEFT loads as activated LoRA.

    Args:
        folder: The folder.
        adapter: The adapter.
        config: Its settings.
        base: Its base.
        invocation: A token that PEFT looks for where it is not told offsets: without ``alora_offsets`` it takes what
            stands from that token on for candidates. BOS, which the local context starts with, is what suits best.

    Raises:
        ConfigurationError: The adapter is not low-rank, or has several candidates for each chunk.
    """
    if config.rank is None:
        raise ConfigurationError("PEFT's LoRA holds low-rank adapters; this one has full projections (`rank=None`).")
    if config.candidates_per_chunk > 1:
        raise ConfigurationError(
            f"PEFT knows nothing of the {config.candidates_per_chunk} candidates that this adapter makes of each "
            f"chunk's last token; only adapters with one can be converted."
        )
    paths = _module_paths(base)
    tensors, targets = {}, set()
    for name, value in adapter.parameters().items():
        place, part = name.rsplit(".", 1)
        targets.add(paths[place])
        tensors[f"{_PREFIX}{paths[place]}.{_PARTS[part]}.weight"] = value
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_weights(Path(folder), tensors)
    place, revision = split_revision(base_name_of(base))
    record = {
        **_PLAIN,
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": place,
        "revision": revision,
        "r": config.rank,
        "lora_alpha": config.rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(targets),
        "alora_invocation_tokens": [invocation],
        "inference_mode": True,
    }
    write_text(Path(folder) / CONFIG_NAME, json.dumps(record, indent=2) + "\n")


def read_peft(folder: str | Path, base: PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a LoRA of PEFT's that is for attention projections only.

    Returns:
        The settings an adapter of the base needs for it, and its parameters by our names. What is for the last
        layer's queries and output is left out: of the last layer only keys and values of candidates are ever read.

    Raises:
        AdapterError: The folder is incomplete or damaged, or the adapter is more than low-rank differences of
            attention projections, the same ones in every layer.
    """
    config = _config_of(Path(folder))
    for name, plain in _PLAIN.items():
        if config.get(name) not in (plain, None):
            raise AdapterError(f"{folder} has {name}={config[name]!r}, which candidate projections have nothing for.")
    start = config.get("init_lora_weights")
    if str(start).startswith(_CHANGES_BASE):
        raise AdapterError(
            f"{folder} has init_lora_weights={start!r}: it belongs to a base that PEFT has changed. Save it with its "
            f"`path_initial_model_for_weight_conversion`, which makes it one of the base as it was."
        )
    rank, alpha = _sizes_of(config, folder)
    tensors, scaling = _weights_of(Path(folder)), alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    places = {path: place for place, path in _module_paths(base).items()}
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.(lora_[AB])\.(?:\w+\.)?weight", name)
        if match is None or match[1] not in places:
            raise AdapterError(f"{folder} holds {name}, which is no attention projection of this base.")
        part = next(ours for ours, theirs in _PARTS.items() if theirs == match[2])
        found[f"{places[match[1]]}.{part}"] = value * scaling if part == "candidate_up" else value
    last = f"layers.{len(attention_modules(base, family_of(base))) - 1}"
    kept = {name: value for name, value in found.items() if not re.match(rf"{last}\.[qo]\.", name)}
    letters = "".join(name.split(".")[2] for name in kept)
    roles = tuple(role for role in "qkvo" if role in letters)
    return {"rank": rank, "candidate_projections": roles}, kept


def _module_paths(base: PreTrainedModel) -> dict[str, str]:
    """Return, by our names (layers.N.ROLE), where in the base its attention projections are."""
    family = family_of(base)
    names = {id(module): name for name, module in base.named_modules()}
    return {
        f"layers.{index}.{role}": f"{names[id(attention)]}.{family.attribute_of(attention, role)}"
        for index, attention in enumerate(attention_modules(base, family))
        for role in family.projections
    }


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise AdapterError(f"{folder / CONFIG_NAME} cannot be read ({error}).") from error
    return config if isinstance(config, dict) else {}


def _sizes_of(config: Mapping[str, Any], folder: str | Path) -> tuple[int, float]:
    """Return rank and alpha of a LoRA."""
    wanted = {"peft_type": str, "r": int, "lora_alpha": (int, float)}
    found: dict[str, Any] = {name: config.get(name) for name in wanted}
    is_whole = all(isinstance(found[name], kind) for name, kind in wanted.items())
    if not is_whole or found["peft_type"] != "LORA" or found["r"] < 1:
        raise AdapterError(
            f"{Path(folder) / CONFIG_NAME} says {found}; what is converted is a LoRA: peft_type 'LORA', `r` of at "
            f"least 1, `lora_alpha` a number. Save the adapter with PEFT again."
        )
    return found["r"], found["lora_alpha"]


def _weights_of(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error, folder) from error
