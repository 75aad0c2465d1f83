"""Other ways for the same base to read more than its window, without training.

Each keeps the end of the prompt, where the question stands.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.layers import cache_tensors
from focusllm.chunking import block, cut_into_chunks
from focusllm.condensing.families import backbone_of, family_of, key_mover_of
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, MissingDependencyError, WindowError
from focusllm.evaluation.ending import OWN_ENDS, Ending
from focusllm.model import FocusModel

# Tokens from the end of a prompt that are kept whatever else is: the question, and some more.
_QUESTION_TOKENS = 96
# First tokens that are never forgotten, and how much of a window is read at once behind them (StreamingLLM).
_NUM_SINKS = 4
_BLOCKS_A_WINDOW = 4


@dataclass(frozen=True)
class _Baseline:
    """A base that decodes by itself.

    Attributes:
        model: Whose base, tokenizer and settings are used; its candidates are not.
    """

    model: FocusModel

    @property
    def config(self) -> FocusConfig:
        """The model's settings; of them, the chunk length can matter."""
        return self.model.config

    def _room(self, max_new_tokens: int, least: int = 1) -> int:
        """Tokens of a prompt that fit the window with BOS and what will be decoded.

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

    def _with_bos(self, ids: Sequence[int]) -> Tensor:
        bos: Any = None if self.model.tokenizer is None else self.model.tokenizer.bos_token_id
        return torch.tensor([block(ids, bos)], device=self.model.device)

    def _greedy(self, base: Any, ids: Sequence[int], max_new_tokens: int, ending: Ending) -> list[int]:
        given = self._with_bos(ids)
        new = base.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=max_new_tokens, do_sample=False,
            pad_token_id=0, **ending.settings(base),
        )  # fmt: skip
        return new[0, given.shape[1] :].tolist()

    def _behind_window(self, ids: Sequence[int], max_new_tokens: int, ending: Ending) -> list[int]:
        with self.model.disabled() as base:
            return self._greedy(base, ids, max_new_tokens, ending)


@dataclass(frozen=True)
class TruncatedSystem(_Baseline):
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
        room = self._room(max_new_tokens)
        if self.kept == "end" or len(prompt_ids) <= room:
            return self._behind_window(prompt_ids[-room:], max_new_tokens, ending)
        tail = min(_QUESTION_TOKENS, room) if self.kept == "start" else max(room // 2, 1)
        return self._behind_window([*prompt_ids[: room - tail], *prompt_ids[-tail:]], max_new_tokens, ending)


@dataclass(frozen=True)
class StretchedSystem(_Baseline):
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
            return self._behind_window(prompt_ids, max_new_tokens, ending)
        with self.model.disabled() as base:
            stretched = self._stretched(base, length)
        return self._greedy(stretched, prompt_ids, max_new_tokens, ending)

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
class StreamingSystem(_Baseline):
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
            mover, cache, ids = key_mover_of(base), DynamicCache(), self._with_bos(prompt_ids)
            block = self.model.window // _BLOCKS_A_WINDOW
            scores: Any = None
            for start in range(0, ids.shape[1], block):
                scores = self._read(base, mover, cache, ids[:, start : start + block])
            ends, new = ending.all_ids(base), list[int]()
            while len(new) < max_new_tokens and not (new and new[-1] in ends):
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


@dataclass(frozen=True)
class _OverChunks(_Baseline):
    def _cut(self, prompt_ids: Sequence[int], max_new_tokens: int) -> tuple[Sequence[Sequence[int]], Sequence[int]]:
        """Cut a prompt into chunks and the question; no chunks where all of it fits the window.

        Raises:
            WindowError: The new tokens leave no room for a chunk and the question.
        """
        if len(prompt_ids) <= self._room(max_new_tokens):
            return (), prompt_ids
        text, question = prompt_ids[:-_QUESTION_TOKENS], prompt_ids[-_QUESTION_TOKENS:]
        length = min(self.config.chunk_length, self._room(max_new_tokens, _QUESTION_TOKENS + 1) - _QUESTION_TOKENS)
        return cut_into_chunks(text, length), question


@dataclass(frozen=True)
class RetrievalSystem(_OverChunks):
    """The base, given the chunks that share most with the question, as many as its window holds.

    Source: BM25 (Robertson and others, 1994), by the library bm25s.
    """

    name: str = "base, chunks found by BM25"

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the chunks, in the order of the text, and the question.

        Raises:
            MissingDependencyError: bm25s is not installed.
        """
        chunks, question = self._cut(prompt_ids, max_new_tokens)
        if not chunks:
            return self._behind_window(prompt_ids, max_new_tokens, ending)
        ranked = self._ranked(chunks, question)
        room = self._room(max_new_tokens) - len(question)
        taken: list[int] = []
        for number in ranked:
            # The last chunk, which may be shorter, may fit behind one that does not.
            if len(chunks[number]) <= room:
                taken.append(number)
                room -= len(chunks[number])
        found = [token for number in sorted(taken) for token in chunks[number]]
        return self._behind_window([*found, *question], max_new_tokens, ending)

    def _ranked(self, chunks: Sequence[Sequence[int]], question: Sequence[int]) -> list[int]:
        try:
            import bm25s
        except ImportError as error:
            raise MissingDependencyError("Retrieval needs bm25s: pip install 'focusllm[eval]'.") from error
        words = [self._words(chunk) for chunk in chunks]
        known = set().union(*words)
        query = [word for word in self._words(question) if word in known]
        if not query:
            return list(range(len(chunks)))
        index = bm25s.BM25()
        index.index(words, show_progress=False)
        scores = index.get_scores(query)
        return sorted(range(len(chunks)), key=lambda number: -float(scores[number]))

    def _words(self, ids: Sequence[int]) -> list[str]:
        assert self.model.tokenizer is not None  # the samples were encoded with it
        return re.findall(r"\w+", str(self.model.tokenizer.decode(list(ids))).lower())


@dataclass(frozen=True)
class BestChunkSystem(_OverChunks):
    """The base, given each chunk by itself; the surest first token decides which of them is answered from.

    The method without its parallel decoding. Source: the ablation of the paper, section 4.4, made precise by us.
    """

    name: str = "base, the best single chunk"

    @torch.no_grad()
    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the chosen chunk and the question."""
        chunks, question = self._cut(prompt_ids, max_new_tokens)
        if not chunks:
            return self._behind_window(prompt_ids, max_new_tokens, ending)
        with self.model.disabled() as base:
            sureness = []
            for chunk in chunks:
                call: Any = base
                scores = call(input_ids=self._with_bos([*chunk, *question]), use_cache=False, logits_to_keep=1).logits
                sureness.append(scores[0, -1].float().softmax(dim=-1).max())
            best = chunks[int(torch.stack(sureness).argmax())]
            return self._greedy(base, [*best, *question], max_new_tokens, ending)
