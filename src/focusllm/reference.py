"""The method as equations: one sequence, no cache, no batching, nothing shared with the library but weights.

Slow and plain on purpose. Tests and documents import it; the library must not. It knows the parts all
supported families are made of (embedding, norms, MLP, linear projections, rotary positions) and computes
attention itself. Source: arXiv 2408.11745, sections 2.1 to 2.3; positions and blocks after the published code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from focusllm.config import FocusConfig


@dataclass(frozen=True)
class Prefix:
    """Keys (not rotated yet), values and positions that stand before the tokens of a pass, layer by layer."""

    keys: list[Tensor]
    values: list[Tensor]
    positions: Tensor


class FocusReference:
    """Next-token scores by the equations.

    Args:
        base: A detached base model of a supported family.
        candidate_weights: ``(layer, role)`` to the weight and bias of a candidate projection; where one is
            missing, the base's own is used.
        config: The method's settings.
        bos_token_id: BOS, or ``None``.
    """

    def __init__(
        self,
        base: nn.Module,
        candidate_weights: Mapping[tuple[int, str], tuple[Tensor, Tensor | None]],
        config: FocusConfig,
        bos_token_id: int | None,
    ) -> None:
        self._base: Any = base
        self._model: Any = base.base_model
        self._candidate_weights = candidate_weights
        self._config = config
        self._bos = bos_token_id

    def logits(self, chunks: Sequence[Sequence[int]], local: Sequence[int], decoded: Sequence[int]) -> Tensor:
        """Return the scores of the token after ``decoded``, (vocab,).

        Args:
            chunks: The memory; empty where the sequence fits the window.
            local: The local context at prefill.
            decoded: Tokens decoded since, in order.
        """
        if not chunks:
            return self._head(self._run([*local, *decoded], 0, [], candidates=0)[0])
        if self._config.local_refresh == "recompute":
            sets = [len(decoded)] * (len(local) + len(decoded))
        else:
            sets = [0] * len(local) + list(range(1, len(decoded) + 1))
        tokens = self._with_bos([*local, *decoded])
        sets = [sets[0]] * (len(tokens) - len(sets)) + sets
        prefixes = {step: self._candidates(chunks, local, decoded[: self._refreshed_at(step)]) for step in set(sets)}
        start = len(chunks) * self._config.candidates_per_chunk
        return self._head(self._run(tokens, start, [prefixes[step] for step in sets], candidates=0)[0])

    def _refreshed_at(self, step: int) -> int:
        """Return after how many decoded tokens the candidates in force at ``step`` were made."""
        interval = self._config.candidate_refresh
        return 0 if interval == 0 else step - step % interval

    def _candidates(self, chunks: Sequence[Sequence[int]], local: Sequence[int], decoded: Sequence[int]) -> Prefix:
        """Condense every chunk (paper, equation 3); candidate i is placed at position i. Several per chunk: ours."""
        dynamic = [*local[-self._config.dynamic_prompt_length :], *decoded]
        prompt, count = self._with_bos([*self._config.static_prompt] or dynamic), self._config.candidates_per_chunk
        made = []
        for chunk in chunks:
            head = [self._bos] if self._config.chunk_bos and self._bos is not None and chunk[0] != self._bos else []
            made.append(self._run([*head, *chunk, *prompt, *prompt[-1:] * (count - 1)], 0, [], count)[1])
        num_layers = len(self._model.layers)
        return Prefix(
            keys=[torch.cat([keys[layer] for keys, _ in made]) for layer in range(num_layers)],
            values=[torch.cat([values[layer] for _, values in made]) for layer in range(num_layers)],
            positions=torch.arange(len(chunks) * count),
        )

    def _with_bos(self, tokens: list[int]) -> list[int]:
        wants_bos = self._config.insert_bos and self._bos is not None and tokens[0] != self._bos
        return [self._bos, *tokens] if wants_bos else tokens  # type: ignore[list-item]

    def _run(
        self, tokens: Sequence[int], start: int, prefixes: Sequence[Prefix], candidates: int
    ) -> tuple[Tensor, tuple[list[Tensor], list[Tensor]]]:
        """Run tokens causally; token j sees ``prefixes[j]`` before it. So many of the last ones are candidates.

        Returns:
            The last hidden state, and per layer the candidates' keys (not rotated) and values.
        """
        positions = torch.arange(len(tokens)) + start
        hidden = self._model.embed_tokens(torch.tensor(tokens))
        last_keys, last_values = [], []
        for index, layer in enumerate(self._model.layers):
            normed = layer.input_layernorm(hidden)
            attended, key, value = self._attention(index, layer.self_attn, normed, positions, prefixes, candidates)
            last_keys.append(key)
            last_values.append(value)
            if hasattr(layer, "post_attention_layernorm"):
                hidden = hidden + attended
                hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
            else:
                hidden = hidden + attended + layer.mlp(normed)
        return hidden[-1], (last_keys, last_values)

    def _attention(
        self,
        index: int,
        attention: Any,
        states: Tensor,
        positions: Tensor,
        prefixes: Sequence[Prefix],
        candidates: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend, token by token (paper, equations 3 and 5)."""
        query, key, value = (self._project(index, attention, role, states, candidates) for role in "qkv")
        head_dim = attention.head_dim
        query, key, value = (part.unflatten(-1, (-1, head_dim)) for part in (query, key, value))
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        rows = []
        for token in range(len(states)):
            keys, values, places = key[: token + 1], value[: token + 1], positions[: token + 1]
            if prefixes:
                prefix = prefixes[token]
                keys = torch.cat((prefix.keys[index], keys))
                values = torch.cat((prefix.values[index], values))
                places = torch.cat((prefix.positions, places))
            rotated = self._rotate(keys, places)
            groups = query.shape[1] // rotated.shape[1]
            rotated, values = rotated.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
            asked = self._rotate(query[token : token + 1], positions[token : token + 1])[0]
            weights = (torch.einsum("hd,khd->hk", asked, rotated) * attention.scaling).softmax(-1)
            rows.append(torch.einsum("hk,khd->hd", weights, values).flatten())
        first = len(states) - candidates
        return self._project(index, attention, "o", torch.stack(rows), candidates), key[first:], value[first:]

    def _project(self, index: int, attention: Any, role: str, states: Tensor, candidates: int) -> Tensor:
        name = "dense" if role == "o" and hasattr(attention, "dense") else f"{role}_proj"
        layer = getattr(attention, name)
        result = nn.functional.linear(states, layer.weight, layer.bias)
        if candidates and (index, role) in self._candidate_weights:
            weight, bias = self._candidate_weights[index, role]
            own = nn.functional.linear(states[-candidates:], weight, bias)
            result = torch.cat((result[:-candidates], own))
        return result

    def _rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Turn states (tokens, heads, head_dim) to their positions."""
        rotary = self._model.rotary_emb
        angles = positions.to(states.dtype)[:, None] * rotary.inv_freq.to(states.dtype)
        cos, sin = (turn(angles)[:, None] * rotary.attention_scaling for turn in (torch.cos, torch.sin))
        half = angles.shape[-1]
        first, second, rest = states[..., :half], states[..., half : 2 * half], states[..., 2 * half :]
        return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)

    def _head(self, hidden: Tensor) -> Tensor:
        norm = self._model.norm if hasattr(self._model, "norm") else self._model.final_layernorm
        return self._base.lm_head(norm(hidden))
