"""How the attention of the last token is shared among candidates: what the next token rests on. Source: ours.

The base's own attention runs as ever; beside it the weights of one query are computed again, layer by layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from focusllm.condensing.attention import attention_by, attention_of, scores_of
from focusllm.condensing.families import family_of

_PREFIX = "focus_recording_"


class AttentionRecord:
    """Filled by one forward pass of local contexts with candidates in front.

    Args:
        num_candidates: How many candidates stand in front.
        per_chunk: How many of them, side by side, stand for a chunk.
    """

    def __init__(self, num_candidates: int, per_chunk: int) -> None:
        self._num_candidates = num_candidates
        self._per_chunk = per_chunk
        self._layers: dict[int, Tensor] = {}

    def add(
        self,
        layer: int,
        query: Float[Tensor, "rows heads new head_dim"],
        key: Float[Tensor, "rows kv_heads all head_dim"],
        scaling: float,
        softcap: float | None,
        mask: Tensor | None = None,
    ) -> None:
        """Take note of one layer: the mean, over heads, of the last query's weights on the candidates of each chunk."""
        last = query[:, :, -1].unflatten(1, (key.shape[1], -1)).float()
        seen = None if mask is None else mask[:, :, None, -1, : key.shape[-2]]
        scores = scores_of(last, key.float(), scaling, softcap, seen)
        weights = scores.softmax(dim=-1)[..., : self._num_candidates]
        self._layers[layer] = weights.flatten(1, 2).mean(dim=1).unflatten(1, (-1, self._per_chunk)).sum(dim=-1)

    def shares(self) -> Float[Tensor, "rows layers chunks"]:
        """Return the share of each layer's attention that went to each chunk."""
        return torch.stack([self._layers[layer] for layer in sorted(self._layers)], dim=1)


def on_candidates(shares: Float[Tensor, "*tokens layers chunks"]) -> Float[Tensor, "*tokens chunks"]:
    """Sum up what was recorded: the attention to each chunk's candidates in the upper third of the layers.

    Candidates found their fact further down, and are read there: in the bundled model, with ten layers, the chunk
    that holds the fact gets 3% to 16% of the attention to candidates in the first seven layers, 77% to 97% in the
    last three.
    """
    return shares[..., -max(shares.shape[-2] // 3, 1) :, :].sum(dim=-2)


def can_record(base: PreTrainedModel) -> bool:
    """Say whether the base's attention goes through transformers' interface; the ``eager`` one does not."""
    return attention_of(base) in ALL_ATTENTION_FUNCTIONS.valid_keys() and family_of(base).forwards_options


@contextmanager
def recorded(base: PreTrainedModel, num_candidates: int, per_chunk: int) -> Iterator[AttentionRecord]:
    """Give a record to be handed to the base as ``focus_record`` within the ``with`` block."""
    implementation = attention_of(base)
    name = _PREFIX + implementation
    AttentionInterface.register(name, partial(_recording_attention, implementation))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    with attention_by(base, name):
        yield AttentionRecord(num_candidates, per_chunk)


def _recording_attention(
    implementation: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    focus_record: AttentionRecord,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    layer: Any = module.layer_idx
    focus_record.add(layer, query, key, options["scaling"], options.get("softcap"), attention_mask)
    return ALL_ATTENTION_FUNCTIONS[implementation](module, query, key, value, attention_mask, **options)
