"""What ends an output before its limit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList


@dataclass(frozen=True)
class Ending:
    """Tokens that end an output, beside those the base was trained to end with.

    Attributes:
        token_ids: The tokens; the one that ends an output is the last one of it.
        min_new_tokens: How many tokens come before any end, the base's own included.
        is_enough: Says of the new tokens so far whether no other is needed; ``None``: that cannot be told.
    """

    token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    is_enough: Callable[[list[int]], bool] | None = None

    def all_ids(self, base: Any) -> list[int]:
        """Return these tokens and the base's own."""
        own = base.generation_config.eos_token_id
        return [*([] if own is None else [own] if isinstance(own, int) else own), *self.token_ids]

    def suffices(self, new_ids: list[int]) -> bool:
        """Say whether new tokens are known to be enough."""
        return self.is_enough is not None and self.is_enough(new_ids)

    def settings(self, base: Any) -> dict[str, Any]:
        """Return it as settings of transformers' ``generate``; none where the base's own ends are all there is."""
        settings: dict[str, Any] = {"eos_token_id": self.all_ids(base)} if self.token_ids else {}
        if self.min_new_tokens:
            settings["min_new_tokens"] = self.min_new_tokens
        if self.is_enough is not None:
            settings["stopping_criteria"] = StoppingCriteriaList([_Enough(self.is_enough)])
        return settings


class _Enough(StoppingCriteria):
    """Ends a single output; it is asked once a token, and so knows which ones are new, whatever came before."""

    def __init__(self, is_enough: Callable[[list[int]], bool]) -> None:
        self._is_enough = is_enough
        self._num_new = 0

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **_: Any) -> Tensor:  # type: ignore[override]
        self._num_new += 1
        is_enough = self._is_enough(input_ids[0, -self._num_new :].tolist())
        return torch.full((len(input_ids),), is_enough, device=input_ids.device)


OWN_ENDS = Ending()
