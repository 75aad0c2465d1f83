"""Adapters on disk: a folder with ``adapter_config.json``, ``adapter_model.safetensors`` and a model card."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.constants import DEFAULT_REVISION
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from focusllm.bundled.model import ADAPTER_PATH, BUNDLED
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.families import attention_modules, family_of
from focusllm.condensing.hub import reason_of, split_revision, with_revision
from focusllm.condensing.model_card import CARD_NAME, model_card, put_card
from focusllm.condensing.projections import CandidateProjection, is_dense
from focusllm.config import PROJECTION_ROLES, FocusConfig
from focusllm.errors import AdapterError, ConfigurationError
from focusllm.files import write_text, written_atomically

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
# All of an adapter folder.
ADAPTER_FILES = (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)
FORMAT_VERSION = 1
# Stands for the fingerprint of a base whose weights are kept in fewer bits.
QUANTIZED = "quantized"
# What names on the Hugging Face Hub look like: an owner and a model.
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterRecord:
    """What ``adapter_config.json`` says.

    Attributes:
        config: The settings the adapter was trained with.
        base_name: Name or path of the base it was trained on, as the trainer gave it.
        base_fingerprint: Fingerprint of that base's attention weights.
        weights_digest: BLAKE2 digest of the weights file.
    """

    config: FocusConfig
    base_name: str
    base_fingerprint: str
    weights_digest: str


def fingerprint_of(base: PreTrainedModel) -> str:
    """Identify a base by its attention weights, the same whether it was loaded in bfloat16 or in 32 bits.

    In float16 it is the same only where the checkpoint is kept in that. A quantized one has nothing to tell it by but
    that it is quantized.
    """
    family = family_of(base)
    digest = hashlib.blake2b(digest_size=16)
    for attention in attention_modules(base, family):
        for role in family.roles_in(attention, PROJECTION_ROLES):
            layer = family.projection_of(attention, role)
            layer = layer.base_layer if isinstance(layer, CandidateProjection) else layer
            if not is_dense(layer):
                return QUANTIZED
            weight: Any = layer.weight
            digest.update(str(tuple(weight.shape)).encode() + in_sixteen_bits(weight.detach().flatten()[:4096]))
    return digest.hexdigest()


def in_sixteen_bits(numbers: Tensor) -> bytes:
    """Return numbers as bytes that are the same whether they were loaded in bfloat16 or in 32 bits."""
    return numbers.to(device="cpu", dtype=torch.bfloat16).view(torch.int16).numpy().tobytes()


def save_adapter(
    folder: str | Path, adapter: CandidateAdapter, config: FocusConfig, base: PreTrainedModel, place: str = "PATH"
) -> None:
    """Write an adapter folder; each file appears whole or not at all, the configuration last.

    Args:
        folder: Where it is written.
        adapter: Whose parameters.
        config: The settings it goes with.
        base: The base it goes with.
        place: Where its model card says that it is loaded from.
    """
    write_adapter(folder, adapter.parameters(), config, base_name_of(base), fingerprint_of(base), place)


def write_adapter(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    config: FocusConfig,
    base_name: str,
    base_fingerprint: str,
    place: str = "PATH",
) -> None:
    """Write an adapter folder from whole tensors, where the adapter's own or its base's are divided among processes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, tensors)
    record = {
        "format": "focusllm",
        "format_version": FORMAT_VERSION,
        "base_model_name_or_path": base_name,
        "base_fingerprint": base_fingerprint,
        "weights_digest": _digest(folder / WEIGHTS_NAME),
        "focus": config.to_dict(),
    }
    put_card(folder, model_card(base_name, config, sum(tensor.numel() for tensor in tensors.values()), place))
    write_text(folder / CONFIG_NAME, json.dumps(record, indent=2) + "\n")


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the weights file of a folder, whole or not at all."""
    with written_atomically(folder / WEIGHTS_NAME) as path:
        kept = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
        try:
            save_file(kept, path, metadata={"format": "pt"})
        except SafetensorError as error:
            # A full disk is the system's refusal here as elsewhere.
            raise OSError(f"{folder / WEIGHTS_NAME} cannot be written ({error})") from error


def base_name_of(base: PreTrainedModel) -> str:
    """Return the name or path a base was loaded by, with its revision; empty where it was not loaded."""
    name = str(getattr(base.config, "_name_or_path", "") or "")
    return with_revision(name, getattr(base, "hub_revision", DEFAULT_REVISION))


def adapter_folder(name: str | Path, start: Path = Path()) -> Path:
    """Return the folder of an adapter: the one of that name, or one that is fetched from the Hugging Face Hub, once.

    Args:
        name: The folder, or ``owner/name`` on the Hub, with ``@revision`` for a branch, tag or commit; ``"bundled"``
            is the one inside the package, ``"./bundled"`` or a path a folder of that name.
        start: Where a relative path starts from, before the current folder.

    Raises:
        AdapterError: There is no such folder, and nothing of that name could be fetched.
    """
    if name == BUNDLED:
        return ADAPTER_PATH
    folder = Path(name).expanduser()
    for path in (start / folder, folder):
        # A folder that is not there beside others that are is a slip, and no name on the Hub.
        if path.parent.is_dir():
            return path
    place, revision = split_revision(folder.as_posix())
    if not _HUB_NAME.fullmatch(place):
        return folder
    try:
        return Path(snapshot_download(place, revision=revision, allow_patterns=list(ADAPTER_FILES)))
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"No adapter at {folder.as_posix()!r}: there is no such folder, and it cannot be fetched from the Hugging "
            f"Face Hub ({reason_of(error)})."
        ) from error


def read_adapter_record(folder: str | Path) -> AdapterRecord:
    """Read ``adapter_config.json``.

    Raises:
        AdapterError: The folder or the file is missing, or the file does not say what it should.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise AdapterError(f"No adapter at {str(folder)!r}: {CONFIG_NAME} is missing. Give a folder made by FocusLLM.")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError(f"a {type(values).__name__} in place of settings by name")
        if "peft_type" in values:
            raise AdapterError(f"{path} is PEFT's: `focusllm convert` makes an adapter of a low-rank one.")
        if values.get("format") != "focusllm" or values.get("format_version") != FORMAT_VERSION:
            found = f"{values.get('format')!r} version {values.get('format_version')!r}"
            raise AdapterError(f"{path} is {found}; this FocusLLM reads 'focusllm' version {FORMAT_VERSION}.")
        return AdapterRecord(
            config=FocusConfig.from_dict(values["focus"]),
            base_name=values["base_model_name_or_path"],
            base_fingerprint=values["base_fingerprint"],
            weights_digest=values["weights_digest"],
        )
    except ConfigurationError as error:
        raise AdapterError(
            f"{path} has settings that this FocusLLM does not take ({str(error).rstrip('.')}). Update FocusLLM if a "
            f"newer one made the adapter; otherwise fetch or train it again."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise AdapterError(f"{path} is damaged or incomplete ({error}). Fetch or train the adapter again.") from error


def base_of(record: AdapterRecord) -> str:
    """Return the name of the base an adapter was trained on; the bundled one is known wherever it lay then."""
    is_bundled = record.base_fingerprint == read_adapter_record(ADAPTER_PATH).base_fingerprint
    return BUNDLED if is_bundled or not record.base_name else record.base_name


def load_adapter(folder: str | Path, adapter: CandidateAdapter, base: PreTrainedModel) -> None:
    """Fill an attached adapter's parameters from a folder.

    Raises:
        AdapterError: The folder is incomplete or damaged, or the adapter was made for another base.
    """
    record = read_adapter_record(folder)
    _check_base(folder, record, base)
    path = Path(folder) / WEIGHTS_NAME
    if not path.is_file():
        raise AdapterError(f"{path} is missing. Fetch or train the adapter again.")
    if _digest(path) != record.weights_digest:
        raise AdapterError(f"{path} is damaged: its checksum is not the one in {CONFIG_NAME}. Fetch it again.")
    fill_parameters(adapter, load_file(path), str(path))


def _check_base(folder: str | Path, record: AdapterRecord, base: PreTrainedModel) -> None:
    found = fingerprint_of(base)
    if record.base_fingerprint == found != QUANTIZED:
        return
    is_quantized = QUANTIZED in (record.base_fingerprint, found)
    # Small numbers lose bits in 16 with so short an exponent, whatever they were kept in before.
    if not is_quantized and base.dtype != torch.float16:
        raise AdapterError(
            f"The adapter {str(folder)!r} was trained on another base ({record.base_name or 'unnamed'}, fingerprint "
            f"{record.base_fingerprint}); this base has fingerprint {found}. Load it with the base it was trained on."
        )
    _LOGGER.warning(
        "The adapter %s was trained on %s; whether this base is that one cannot be told of %s.",
        folder, record.base_name or "an unnamed base",
        "quantized weights" if is_quantized else "weights that were rounded to float16",
    )  # fmt: skip


def advice_on_pickles(path: Path) -> str:
    """Return what to do where weights are looked for at a path that is, or holds, pickles; empty where it is not."""
    found = any(one.suffix in (".bin", ".pt", ".pth") for one in ([path] if path.is_file() else path.glob("*")))
    return " Files in .bin and the like are pickles, which are not read: save it as safetensors first." * found


def unreadable(file: Path, error: Exception, place: Path) -> AdapterError:
    """Return the error of a file that is none of safetensors, with advice by what lies at a place."""
    advice = advice_on_pickles(place) or " Fetch it again."
    return AdapterError(f"{file} is not a readable safetensors file ({error}).{advice}")


def fill_parameters(adapter: CandidateAdapter, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into the adapter's parameters, all or none.

    Raises:
        AdapterError: A tensor is missing, superfluous, or of another shape.
    """
    parameters = adapter.parameters()
    problems = [f"{name} is missing" for name in parameters.keys() - tensors.keys()]
    problems += [f"{name} is not part of this adapter" for name in tensors.keys() - parameters.keys()]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, needed is {tuple(parameter.shape)}"
        for name, parameter in parameters.items()
        if name in tensors and tensors[name].shape != parameter.shape
    ]
    if problems:
        raise AdapterError(f"{origin} does not fit this base and configuration: {'; '.join(sorted(problems)[:4])}.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
