"""What ends an output before its limit."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ending:
    """Tokens that end an output, beside those the base was trained to end with.

    Attributes:
        token_ids: The tokens; the one that ends an output is the last one of it.
        min_new_tokens: How many tokens come before any end, the base's own included.
    """

    token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0

    def all_ids(self, base: Any) -> list[int]:
        """Return these tokens and the base's own."""
        own = base.generation_config.eos_token_id
        return [*([] if own is None else [own] if isinstance(own, int) else own), *self.token_ids]

    def settings(self, base: Any) -> dict[str, Any]:
        """Return it as settings of transformers' ``generate``; none where the base's own ends are all there is."""
        settings: dict[str, Any] = {"eos_token_id": self.all_ids(base)} if self.token_ids else {}
        return settings | ({"min_new_tokens": self.min_new_tokens} if self.min_new_tokens else {})


OWN_ENDS = Ending()
