"""What is compared: anything that continues a long sequence of tokens."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from focusllm.model import FocusModel


@runtime_checkable
class System(Protocol):
    """Something that reads tokens and writes some."""

    @property
    def name(self) -> str:
        """The name results carry."""
        ...

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return the likeliest new tokens behind a prompt of any length."""
        ...


@dataclass(frozen=True)
class FocusSystem:
    """FocusLLM, as it is configured."""

    model: FocusModel

    @property
    def name(self) -> str:
        """The name results carry."""
        config = self.model.config
        return f"focusllm ({config.local_refresh} local, candidates every {config.candidate_refresh})"

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Decode greedily."""
        ids = torch.tensor([prompt_ids], device=self.model.device)
        return self.model.generate(ids, max_new_tokens=max_new_tokens)[0, len(prompt_ids) :].tolist()


@dataclass(frozen=True)
class TruncatedSystem:
    """The base alone, which only sees the end of the text: as much as its window holds."""

    model: FocusModel
    name: str = "base, end of the text"

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
