"""Loading base models, and their special tokens."""

import logging
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import has_file

from focusllm.cache.memory import free_bytes
from focusllm.condensing.attention import check_attention
from focusllm.condensing.families import can_give_text_part, check_supported, text_part_of, vocabulary_of
from focusllm.condensing.family_table import FAMILIES
from focusllm.condensing.hub import split_revision
from focusllm.errors import ConfigurationError, InputError, MissingDependencyError, UnsupportedModelError
from focusllm.precision import is_emulated

_LOGGER = logging.getLogger(__name__)
# Of the free memory, what a base in single precision may take.
_BASE_SHARE = 0.25
# In which models of transformers compute.
_PRECISIONS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# Where one of these is, there is a tokenizer.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
)  # fmt: skip


def load_base(
    name: str,
    dtype: torch.dtype | str,
    device: torch.device | str | None = "cpu",
    quantization: Any = None,
    attention: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Load a base and, where it has one, its tokenizer; of a base that reads more than text, its text part.

    Args:
        name: Path, or name on the Hugging Face Hub; ``owner/name@revision`` is that branch, tag or commit.
        dtype: As for transformers; ``"auto"`` takes the checkpoint's, or float32 on a CPU that has no arithmetic
            for it, if there is room.
        device: Where the base goes; ``None``: a GPU if there is one.
        quantization: transformers' ``quantization_config``, or its fields; ``None`` leaves the base as it is.
        attention: transformers' ``attn_implementation``; ``None`` leaves the choice to transformers.

    Raises:
        ConfigurationError: There is no such precision or device, or no such way to quantize or to compute attention.
        InputError: There is no model by that name, it or its tokenizer cannot be read, weights of it are missing, or
            its folder holds an adapter, too.
        MissingDependencyError: Its weights are kept in fewer bits, or its attention is to be computed, by a library
            that is not installed.
        UnsupportedModelError: Its architecture is not supported; nothing large has been loaded then.
    """
    if dtype != "auto" and (getattr(torch, dtype, None) if isinstance(dtype, str) else dtype) not in _PRECISIONS:
        raise ConfigurationError(
            f"`dtype` must be 'auto', 'bfloat16', 'float16', 'float32' or 'float64'; got {str(dtype)!r}. For fewer "
            f"bits, give a `quantization_config`."
        )
    if not isinstance(quantization, Mapping | None) and not hasattr(quantization, "quant_method"):
        raise ConfigurationError(
            f"`quantization_config` must be one of transformers', such as BitsAndBytesConfig, or its fields by name; "
            f"got {quantization!r}."
        )
    check_attention(attention)
    place = _checked_device(device)
    _check_holds_no_adapter(Path(name))
    config = load_config(name)
    reads_more = text_part_of(config) in FAMILIES and can_give_text_part(config)
    check_supported(config.get_text_config(decoder=True) if reads_more else config)
    options = {"dtype": dtype, "quantization_config": quantization}
    if attention is not None:
        options["attn_implementation"] = attention
    base: Any = _loaded(name, options, reads_more)
    # transformers keeps the name alone; adapters say which base they are for.
    base.hub_revision = split_revision(name)[1]
    nn.Module.to(base, place)
    if dtype == "auto":
        _make_fast(base)
    return base, _load_tokenizer(name)


def check_left_out(**options: Any) -> None:
    """Refuse options of loading that are given with a base that is loaded already; ``None`` is left out.

    Raises:
        ConfigurationError: There is one.
    """
    if given := [name for name, value in options.items() if value is not None]:
        raise ConfigurationError(
            f"The base is loaded already, so {', '.join(f'`{name}`' for name in given)} would change nothing: load it "
            f"that way, or give its name."
        )


def _loaded(name: str, options: Mapping[str, Any], reads_more: bool) -> PreTrainedModel:
    """Have transformers load a base with options of its own; of one that reads more than text, return its text part."""
    load: Any = (AutoModelForMultimodalLM if reads_more else AutoModelForCausalLM).from_pretrained
    place, revision = split_revision(name)
    try:
        base, found = load(
            place, revision=revision, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True,
            **options,
        )  # fmt: skip
    except ImportError as error:
        raise MissingDependencyError(f"The base model {name!r} cannot be loaded: {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"The base model {name!r} cannot be loaded: {error}") from error
    except KeyError as error:
        raise InputError(
            f"The base model {name!r} cannot be loaded: its configuration names {error}, which this version of "
            f"transformers does not know."
        ) from error
    _check_whole(name, found)
    return _text_part(base) if reads_more else base


def _text_part(whole: Any) -> PreTrainedModel:
    """Return the part of a base that reads and writes text, as the language model it is by itself."""
    decoder = whole.get_decoder()
    with torch.device("meta"):
        part: Any = AutoModelForCausalLM.from_config(decoder.config)
    if isinstance(decoder, type(part)):
        # Some have a whole language model inside.
        part = decoder
    else:
        setattr(part, part.base_model_prefix, decoder)
        part.set_output_embeddings(whole.get_output_embeddings())
    # One configuration for all: how attention is computed is looked up in it.
    part.config, part.generation_config = decoder.config, whole.generation_config
    part.config._name_or_path = whole.name_or_path
    part.hf_quantizer = getattr(whole, "hf_quantizer", None)
    return part.eval()


def _make_fast(base: PreTrainedModel) -> None:
    """Put a base in 16 bits, for which its CPU has no arithmetic, into single precision, where memory allows."""
    given = base.dtype
    if getattr(base, "hf_quantizer", None) is not None or not is_emulated(given, base.device):
        return
    name = str(given).removeprefix("torch.")
    if 2 * base.get_memory_footprint() > _BASE_SHARE * free_bytes(base.device):
        _LOGGER.warning("This CPU has no arithmetic for %s and is slow; there is too little memory for float32.", name)
        return
    base.float()
    _LOGGER.warning(
        "This CPU has no arithmetic for %s, so float32 is used: several times as fast, in twice the memory. "
        "Set dtype to %s to keep that.", name, name,
    )  # fmt: skip


def _check_whole(name: str, found: Mapping[str, Any]) -> None:
    """Refuse a base some of whose weights were not in its files, in whose place transformers puts random numbers."""
    problems = [f"{weight} is missing" for weight in found["missing_keys"]]
    problems += [
        f"{weight} has shape {tuple(here)}, needed is {tuple(needed)}"
        for weight, here, needed in found["mismatched_keys"]
    ]
    if problems:
        raise InputError(
            f"The weights of the base model {name!r} are not those of its configuration: "
            f"{'; '.join(sorted(problems)[:4])}. Fetch its files again."
        )


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase | None:
    place, revision = split_revision(name)
    try:
        return AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    # What transformers and tokenizers raise over a damaged file is of no one kind.
    except Exception as error:
        if not any(has_file(place, file, revision) for file in _TOKENIZER_FILES):
            return None
        raise InputError(
            f"The tokenizer of the base model {name!r} cannot be loaded ({type(error).__name__}: {error}). Fetch its "
            f"files again, or install what it needs; without any of them, the base reads token ids only."
        ) from error


def _check_holds_no_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter in place of a base, or beside one."""
    if not (folder / "adapter_config.json").exists():
        return
    if not (folder / "config.json").exists():
        raise InputError(
            f"{folder} is an adapter, and no base: give it as one (`adapter=`, --adapter). Its base need not be named, "
            f"as long as it is where it was."
        )
    raise InputError(
        f"{folder} holds an adapter beside the base, which transformers would take for one of PEFT's and load with it. "
        f"Keep the adapter in a folder of its own."
    )


def _checked_device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"The device {str(device)!r} cannot be used ({reason}). Use another, or 'cpu'."
        ) from error


def load_config(name: str) -> PreTrainedConfig:
    """Load the configuration of a model; see :func:`load_base` for its name.

    Raises:
        InputError: There is no model by that name, or it cannot be read.
        UnsupportedModelError: It comes with code of its own, without which it cannot be read.
    """
    place, revision = split_revision(name)
    try:
        return AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"The base model {name!r} needs code of its own, which FocusLLM never runs. Use one of an architecture "
                f"that is part of transformers (see `focusllm models`)."
            ) from error
        raise InputError(f"The base model {name!r} cannot be loaded: {error}") from error


def check_tokenizer(tokenizer: Any) -> None:
    """Check that a tokenizer, where there is one, is a loaded one of transformers'.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase | None):
        raise ConfigurationError(
            f"`tokenizer` must be one of transformers', such as AutoTokenizer.from_pretrained loads; got "
            f"{shortened(tokenizer)} ({type(tokenizer).__name__})."
        )


def bos_token_id_of(base: Any, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the tokenizer's BOS; without a tokenizer, the one the base's configuration names.

    What the base has no embedding of, such as what a configuration names by default, is none.
    """
    token: Any = base.config.bos_token_id if tokenizer is None else tokenizer.bos_token_id
    size = vocabulary_of(base)
    if token is not None and not 0 <= token < size:
        _LOGGER.warning("The BOS token, %d, is none of the base's %d tokens: texts are read without one.", token, size)
        return None
    return token


def pad_token_id_of(base: Any, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the token that pads outputs, or ``None`` where neither tokenizer nor base have one."""
    candidates = [None if tokenizer is None else tokenizer.pad_token_id, base.config.pad_token_id]
    return next((token for token in candidates if token is not None), None)
