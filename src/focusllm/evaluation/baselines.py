"""Other ways for the same base to read more than its window, without training.

Each keeps the end of the prompt, where the question stands.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.layers import cache_tensors
from focusllm.chunking import block
from focusllm.condensing.families import backbone_of, family_of, key_mover_of
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, WindowError
from focusllm.evaluation.ending import OWN_ENDS, Ending
from focusllm.model import FocusModel

# Tokens from the end of a prompt that are kept whatever else is: the question, and some more.
QUESTION_TOKENS = 96
# First tokens that are never forgotten, and how much of a window is read at once behind them (StreamingLLM).
_NUM_SINKS = 4
_BLOCKS_A_WINDOW = 4


@dataclass(frozen=True)
class Baseline:
    """A base that decodes by itself.

    Attributes:
        model: Whose base, tokenizer and settings are used; its candidates are not.
    """

    model: FocusModel

    @property
    def config(self) -> FocusConfig:
        """The model's settings; of them, the chunk length can matter."""
        return self.model.config

    def room_for(self, max_new_tokens: int, least: int = 1) -> int:
        """Return how many tokens of a prompt fit the window with BOS and what will be decoded.

        Raises:
            WindowError: They are fewer than the least that are of use.
        """
        room = self.model.window - max_new_tokens - 1
        if room < least:
            raise WindowError(
                f"{max_new_tokens} new tokens leave {max(room, 0)} of the base's window of {self.model.window} to the "
                f"prompt, which needs at least {least}. Ask for fewer new tokens, or use a base with a larger window."
            )
        return room

    def with_bos(self, ids: Sequence[int]) -> Tensor:
        """Return tokens as a batch of one, (1, tokens), BOS before them."""
        bos: Any = None if self.model.tokenizer is None else self.model.tokenizer.bos_token_id
        return torch.tensor([block(ids, bos)], device=self.model.device)

    def greedy(self, base: Any, ids: Sequence[int], max_new_tokens: int, ending: Ending) -> list[int]:
        """Decode greedily behind tokens with a base that is given."""
        given = self.with_bos(ids)
        new = base.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=max_new_tokens, do_sample=False,
            pad_token_id=0, **ending.settings(base),
        )  # fmt: skip
        return new[0, given.shape[1] :].tolist()

    def behind_window(self, ids: Sequence[int], max_new_tokens: int, ending: Ending) -> list[int]:
        """Decode greedily behind tokens that fit the window with the model's base."""
        with self.model.disabled() as base:
            return self.greedy(base, ids, max_new_tokens, ending)


@dataclass(frozen=True)
class TruncatedSystem(Baseline):
    """The base, given as much of the text as its window holds.

    Attributes:
        kept: Which part: the end of the text, its start, or (as LongBench does) both ends without the middle.
    """

    kept: Literal["end", "start", "ends"] = "end"

    @property
    def name(self) -> str:
        """The name results carry."""
        return {"end": "base, end of the text", "start": "base, start of the text", "ends": "base, both ends"}[
            self.kept
        ]

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind what is kept of the prompt.

        Raises:
            WindowError: The new tokens leave no room for any of it.
        """
        room = self.room_for(max_new_tokens)
        if self.kept == "end" or len(prompt_ids) <= room:
            return self.behind_window(prompt_ids[-room:], max_new_tokens, ending)
        tail = min(QUESTION_TOKENS, room) if self.kept == "start" else max(room // 2, 1)
        return self.behind_window([*prompt_ids[: room - tail], *prompt_ids[-tail:]], max_new_tokens, ending)


@dataclass(frozen=True)
class StretchedSystem(Baseline):
    """The base over the whole text, its rotary positions scaled into what it knows.

    Source: Position Interpolation (arXiv 2306.15595); dynamic NTK-aware scaling and YaRN (arXiv 2309.00071), as
    transformers has them.

    Attributes:
        scaling: Transformers' name of the scaling.
    """

    scaling: Literal["linear", "dynamic", "yarn"] = "linear"

    @property
    def name(self) -> str:
        """The name results carry."""
        kind = {"linear": "positions interpolated", "dynamic": "dynamic NTK", "yarn": "YaRN"}[self.scaling]
        return f"base, whole text, {kind}"

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the whole prompt; positions are scaled only where it exceeds the window.

        Raises:
            ConfigurationError: The base has no rotary positions, or such as are scaled already.
        """
        length = len(prompt_ids) + max_new_tokens + 1
        if length <= self.model.window:
            return self.behind_window(prompt_ids, max_new_tokens, ending)
        with self.model.disabled() as base:
            stretched = self._stretched(base, length)
        return self.greedy(stretched, prompt_ids, max_new_tokens, ending)

    def _stretched(self, base: Any, length: int) -> Any:
        """Return the base with positions for so many tokens; its weights are the base's own, not copies."""
        rotary, own = family_of(base).rotary, getattr(base.config, "rope_parameters", None) or {}
        if rotary is None or own.get("rope_type") != "default":
            raise ConfigurationError(
                f"The positions of this {base.config.model_type} cannot be scaled: they must be rotary, and neither "
                f"scaled already nor different from layer to layer; its configuration says {dict(own)}. Choose "
                f"another --system."
            )
        shared: dict[int, Any] = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
        stretched = deepcopy(base, shared)
        scaled: dict[str, Any] = {"rope_type": self.scaling, "factor": length / self.model.window}
        if self.scaling == "yarn":
            scaled["original_max_position_embeddings"] = self.model.window
        if self.scaling == "dynamic":
            # It grows with the length by itself, from what the configuration says the base knows.
            scaled["factor"] = 1.0
        else:
            stretched.config.max_position_embeddings = length
        stretched.config.rope_parameters = {**own, **scaled}
        backbone = backbone_of(stretched)
        # Angles stay in single precision, whatever the weights are in.
        setattr(backbone, rotary, type(getattr(backbone, rotary))(stretched.config).to(self.model.device))
        return stretched


@dataclass(frozen=True)
class StreamingSystem(Baseline):
    """The base with a window that slides over the text, its first tokens always in sight.

    Positions are those within the window. The text is read in blocks of a quarter of it. Source: StreamingLLM (arXiv
    2309.17453).
    """

    name: str = "base, sliding window with attention sinks"

    @torch.no_grad()
    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the whole prompt.

        Raises:
            ConfigurationError: The base has no rotary positions: what it holds cannot be moved.
        """
        family = family_of(self.model.base)
        if family.rotary is None and not family.rotary_table:
            raise ConfigurationError(f"A {family.model_type} has no rotary positions, so its window cannot slide.")
        with self.model.disabled() as base:
            mover, cache, ids = key_mover_of(base), DynamicCache(), self.with_bos(prompt_ids)
            block = self.model.window // _BLOCKS_A_WINDOW
            scores: Any = None
            for start in range(0, ids.shape[1], block):
                scores = self._read(base, mover, cache, ids[:, start : start + block])
            ends, new = ending.all_ids(base), list[int]()
            while len(new) < max_new_tokens and not (new and (new[-1] in ends or ending.suffices(new))):
                if new:
                    scores = self._read(base, mover, cache, torch.tensor([new[-1:]], device=ids.device))
                if len(new) < ending.min_new_tokens:
                    scores[ends] = -torch.inf
                new.append(int(scores.argmax()))
        return new

    def _read(self, base: Any, mover: Any, cache: DynamicCache, ids: Tensor) -> Tensor:
        held = cache.get_seq_length()
        if (excess := held + ids.shape[1] - self.model.window) > 0:
            _forget(cache, mover, excess)
            held -= excess
        positions = torch.arange(held, held + ids.shape[1], device=ids.device).unsqueeze(0)
        return base(
            input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits[0, -1]


def _forget(cache: DynamicCache, mover: Any, count: int) -> None:
    """Drop so many tokens behind the first ones, and move the others back to close the gap."""
    kept = CandidateKV(
        [(k[:, :, _NUM_SINKS + count :], v[:, :, _NUM_SINKS + count :]) for k, v in cache_tensors(cache)]
    )
    shift = torch.full((1, kept.layers[0][0].shape[2]), -count, device=kept.layers[0][0].device)
    layers: Any = cache.layers
    for layer, (keys, values) in zip(layers, kept.moved(mover, shift).layers, strict=True):
        layer.keys = torch.cat((layer.keys[:, :, :_NUM_SINKS], keys), dim=2)
        layer.values = torch.cat((layer.values[:, :, :_NUM_SINKS], values), dim=2)
