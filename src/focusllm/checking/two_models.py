"""The method by two models of transformers, for every family: the base, and one with the candidates' projections.

A candidate is the last token of its chunk and prompt, run by the second model behind what the first one holds, at the
positions that put it where it belongs. No gate, no moving of keys, no batches, no cache of ours.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.pytorch_utils import Conv1D

from focusllm import FocusModel
from focusllm.condensing.families import attention_modules, backbone_of, family_of, layer_windows
from focusllm.condensing.projections import CandidateProjection

LayerTensors = list[tuple[Tensor, Tensor]]


class TwoModels:
    """Next-token scores of one sequence.

    Args:
        model: Whose base, projections and settings are meant; full projections.
        bos: The BOS token.
    """

    def __init__(self, model: FocusModel, bos: int) -> None:
        family = model.adapter.family
        with model.disabled() as base:
            self._base, self._other = deepcopy(base), deepcopy(base)
        self._config, self._bos = model.config, bos
        self._is_absolute = family.rotary is None and not family.rotary_table
        # Where every position counts from: a table of angles knows no negative ones.
        self._first = 24 if family.rotary_table else 0
        for name, projection in model.adapter.projections.items():
            _, layer, role = name.split(".")
            attention = attention_modules(self._other, family)[int(layer)]
            _overwrite(family.projection_of(attention, role), projection)

    @torch.no_grad()
    def logits(self, chunks: Sequence[Sequence[int]], local: Sequence[int], decoded: Sequence[int]) -> Tensor:
        """Return the scores of the token after ``decoded``, everything made anew: the paper's semantics."""
        prompt = self._with_bos([*local[-self._config.dynamic_prompt_length :], *decoded])
        made = [self._candidate([*chunk, *prompt], number) for number, chunk in enumerate(chunks)]
        cache = DynamicCache()
        for layer, parts in enumerate(zip(*made, strict=True)):
            cache.update(torch.cat([k for k, _ in parts], dim=2), torch.cat([v for _, v in parts], dim=2), layer)
        tokens = self._with_bos([*local, *decoded])
        positions = torch.arange(len(chunks), len(chunks) + len(tokens)) + self._first
        mask = self._mask(len(chunks), len(tokens))
        self._open(len(chunks), len(tokens))
        return self._run(self._base, tokens, positions, cache, attention_mask=mask).logits[0, -1]

    def _open(self, num_candidates: int, num_tokens: int) -> None:
        """Show candidates, token by token, to layers that keep what they see to themselves."""
        family = family_of(self._base)
        if family.sight is None:
            return
        for attention in attention_modules(self._base, family):
            for token in range(num_candidates, num_candidates + num_tokens):
                getattr(attention, family.sight)[0, 0, token, :num_candidates] = True

    def _mask(self, num_candidates: int, num_tokens: int) -> Any:
        """Say, token by token, what is in sight: candidates always, others as far as the layer sees."""
        windows = layer_windows(self._base)
        if not any(windows):
            return None
        masks = {}
        for kind, window in (("full_attention", None), ("sliding_attention", max(w for w in windows if w))):
            mask = torch.full((num_tokens, num_candidates + num_tokens), -1e30, dtype=self._base.dtype)
            for token in range(num_tokens):
                mask[token, :num_candidates] = 0
                for other in range(token + 1):
                    if window is None or token - other < window:
                        mask[token, num_candidates + other] = 0
            masks[kind] = mask[None, None]
        return masks if getattr(self._base.config, "layer_types", None) else masks["sliding_attention"]

    def _candidate(self, tokens: list[int], number: int) -> LayerTensors:
        positions = torch.arange(len(tokens))
        if not self._is_absolute:
            positions = positions + self._first + number - (len(tokens) - 1)
        cache = DynamicCache()
        self._run(backbone_of(self._base), tokens[:-1], positions[:-1], cache)
        self._run(backbone_of(self._other), tokens[-1:], positions[-1:], cache)
        return [(layer.keys[:, :, -1:], layer.values[:, :, -1:]) for layer in cache.layers]  # type: ignore[union-attr]

    def _with_bos(self, tokens: list[int]) -> list[int]:
        return tokens if tokens[0] == self._bos else [self._bos, *tokens]

    def _run(
        self, model: Any, tokens: Sequence[int], positions: Tensor, cache: DynamicCache, attention_mask: Any = None
    ) -> Any:
        return model(
            input_ids=torch.tensor([list(tokens)]),
            position_ids=positions.unsqueeze(0),
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=True,
        )


def _overwrite(layer: Any, projection: CandidateProjection) -> None:
    weight: Any = projection.candidate_weight
    layer.weight.copy_(weight.T if isinstance(layer, Conv1D) else weight)
    bias: Any = projection.candidate_bias
    if bias is not None:
        layer.bias.copy_(bias)
