"""Telling base models and tokenizers apart, by samples of their numbers and by their rules."""

import hashlib
import json
import re
from copy import deepcopy
from operator import itemgetter
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Numbers that are looked at to tell a weight from others, at least, where there are as many.
_SAMPLE = 1024
# What names of weights have more where something stands around a layer: our projections, or compiled code.
_AROUND = re.compile(r"\.base_layer\b|\b_orig_mod\.")
_WHOLE_NUMBERS = (torch.int8, torch.uint8, torch.int16, torch.int32)


def weights_fingerprint(base: PreTrainedModel) -> str:
    """Identify a base by samples of all its weights, and by its positions; candidate projections do not count.

    Samples are taken at every call. PyTorch counts changes of a tensor, but not those through ``.data``, by which
    libraries merge adapters and load weights; and the memory of weights that were replaced is soon that of others.
    """
    digest = hashlib.blake2b(digest_size=16)
    config: Any = base.config
    digest.update(f"{config.model_type} {getattr(config, 'rope_parameters', None)}".encode())
    # Some libraries keep quantized weights as buffers, in whole numbers.
    packed = [(name, value) for name, value in base.named_buffers() if value.dtype in _WHOLE_NUMBERS]
    named = [(_AROUND.sub("", name), weight) for name, weight in [*base.named_parameters(), *packed]]
    weights = sorted(named, key=itemgetter(0))
    parts = [(name, part) for name, weight in weights if "candidate_" not in name for part in _plain_parts(weight)]
    samples = [sample_of(part, _SAMPLE).float().to(base.device) for _, part in parts]
    # All at once: a GPU is waited for a single time.
    taken = torch.cat(samples).cpu().split(list(map(len, samples)))
    for (name, part), sample in zip(parts, taken, strict=True):
        digest.update(f"{name} {tuple(part.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def _plain_parts(weight: Any) -> list[torch.Tensor]:
    """Return the plain tensors a weight is made of: itself, or what a kind of its own (a quantized one) holds."""
    if not hasattr(weight, "__tensor_flatten__"):
        return [weight]
    return [part for name in weight.__tensor_flatten__()[0] for part in _plain_parts(getattr(weight, name))]


def sample_of(weight: torch.Tensor, count: int) -> torch.Tensor:
    """Return numbers of a weight, evenly spread: so many at least, where there are as many."""
    values = weight.detach().flatten()
    return values[:: max(values.numel() // count, 1)]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase | None) -> str:
    """Identify a tokenizer by its vocabulary and, where it has them, its rules; empty without one."""
    if tokenizer is None:
        return ""
    rules: Any = getattr(tokenizer, "backend_tokenizer", None)
    if rules is not None and (rules.truncation or rules.padding):
        # How the last call wanted its texts cut or filled up, which is no rule of the next one.
        rules = deepcopy(rules)
        rules.no_truncation()
        rules.no_padding()
    text = json.dumps(sorted(tokenizer.get_vocab().items())) if rules is None else rules.to_str()
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
