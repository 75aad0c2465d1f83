"""What is compared: anything that continues a long sequence of tokens."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.condensing.bases import pad_token_id_of
from focusllm.config import FocusConfig
from focusllm.decoding.engine import FocusEngine
from focusllm.decoding.generate import FocusGenerator, decode, generation_config_for
from focusllm.model import FocusModel


@runtime_checkable
class System(Protocol):
    """Something that reads tokens and writes some."""

    @property
    def name(self) -> str:
        """The name results carry."""
        ...

    @property
    def config(self) -> FocusConfig:
        """The settings results carry."""
        ...

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return the likeliest new tokens behind a prompt of any length."""
        ...


# Ways of decoding, from the paper's to the cheapest.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"candidate_refresh": 1, "focus_share": None, "local_refresh": "recompute"},
    "cached": {"candidate_refresh": 1, "focus_share": None, "local_refresh": "cached"},
    "refresh-16": {"candidate_refresh": 16, "focus_share": None, "local_refresh": "cached"},
    "focused": {"candidate_refresh": 16, "focus_share": 0.9, "local_refresh": "cached"},
    "once": {"candidate_refresh": 0, "focus_share": None, "local_refresh": "cached"},
}


class Reading:
    """The chunks read last: whoever asks about the same ones next need not read them again."""

    def __init__(self) -> None:
        self._chunks: tuple[Sequence[int], ...] = ()
        self._cache = ChunkCache()

    def of(self, engine: FocusEngine, sequence: SplitSequence) -> ChunkCache:
        """Return the chunks of a sequence."""
        if sequence.chunks != self._chunks:
            self._cache = ChunkCache()  # what is not needed any more makes room first
            prompt_length = min(engine.config.dynamic_prompt_length, len(sequence.local)) + 1
            self._cache = engine.index([sequence.chunks], [prompt_length])
            self._chunks = sequence.chunks
        return self._cache


class FocusSystem:
    """FocusLLM.

    Args:
        model: The model.
        settings: How it decodes; as it is configured, by default.
        reading: The chunks read last, shared with systems that differ in settings alone.
    """

    def __init__(
        self, model: FocusModel, settings: Mapping[str, Any] | None = None, reading: Reading | None = None
    ) -> None:
        self._model = model
        self._config = model.config.changed(settings or {})
        self._reading = reading or Reading()

    @property
    def name(self) -> str:
        """The name results carry."""
        focus = "" if self._config.focus_share is None else f", {self._config.focus_share} in focus"
        return (
            f"focusllm ({self._config.local_refresh} local, candidates every {self._config.candidate_refresh}{focus})"
        )

    @property
    def config(self) -> FocusConfig:
        """The settings it decodes with."""
        return self._config

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Decode greedily."""
        engine: FocusEngine = self._model._engine
        engine.config = self._config
        padding = pad_token_id_of(self._model.base, self._model.tokenizer)
        chosen = {"max_new_tokens": max_new_tokens, "do_sample": False}
        decoding = generation_config_for(self._model.base, None, chosen, padding)
        [sequence] = engine.split([prompt_ids], max_new_tokens)
        chunks = self._reading.of(engine, sequence) if sequence.chunks else None
        generator = FocusGenerator(engine, [sequence], chunks)
        return decode(generator, [prompt_ids], decoding, tokenizer=self._model.tokenizer).sequences[0].tolist()


@dataclass(frozen=True)
class TruncatedSystem:
    """The base alone, which only sees the end of the text: as much as its window holds."""

    model: FocusModel
    name: str = "base, end of the text"

    @property
    def config(self) -> FocusConfig:
        """The model's settings, of which none matters here."""
        return self.model.config

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Decode greedily behind the last tokens of the prompt."""
        kept = self.model.window - max_new_tokens - 1
        with self.model.disabled() as base:
            return _greedy(base, self.model, prompt_ids[-kept:], max_new_tokens)


@dataclass(frozen=True)
class StretchedSystem:
    """The base alone over the whole text, its rotary positions scaled into the window (linear interpolation).

    Source: Position Interpolation (arXiv 2306.15595).
    """

    model: FocusModel
    name: str = "base, whole text, positions interpolated"

    @property
    def config(self) -> FocusConfig:
        """The model's settings, of which none matters here."""
        return self.model.config

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Decode greedily behind the whole prompt."""
        with self.model.disabled() as base:
            config = deepcopy(base.config)
            factor = max((len(prompt_ids) + max_new_tokens + 1) / self.model.window, 1.0)
            config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": factor}
            config.max_position_embeddings = len(prompt_ids) + max_new_tokens + 1
            stretched: Any = type(base)(config)
            stretched.to(device=self.model.device, dtype=next(base.parameters()).dtype)
            stretched.load_state_dict(base.state_dict())
        return _greedy(stretched.eval(), self.model, prompt_ids, max_new_tokens)


def _greedy(base: Any, model: FocusModel, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
    bos = None if model.tokenizer is None else model.tokenizer.bos_token_id
    lead = [] if bos is None or (prompt_ids and prompt_ids[0] == bos) else [bos]
    ids = torch.tensor([[*lead, *prompt_ids]], device=model.device)
    new = base.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0
    )
    return new[0, ids.shape[1] :].tolist()


SYSTEMS = {"focusllm": FocusSystem, "base-end": TruncatedSystem, "base-stretched": StretchedSystem}
