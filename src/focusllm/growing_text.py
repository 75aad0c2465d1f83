"""Text that is handed on while it is decoded. Source: ours."""

from collections.abc import Callable, Sequence
from typing import Any

# What stands for bytes that are not a whole character yet.
_PART_OF_A_CHARACTER = "\ufffd"


class GrowingText:
    """A streamer that hands on a text as far as it is settled; all that it hands on is the text in the end.

    Args:
        text_of: Turns the tokens so far into text.
        stops: What ends the text, and is no part of it.
        give: Called with every further piece.
    """

    def __init__(self, text_of: Callable[[list[int]], str], stops: Sequence[str], give: Callable[[str], None]) -> None:
        self._text_of, self._stops, self._give = text_of, stops, give
        self._token_ids: list[int] | None = None
        self._given = ""

    def put(self, value: Any) -> None:
        """Take the prompt, which is not handed on, or further tokens of the text."""
        if self._token_ids is None:
            self._token_ids = []
            return
        self._token_ids.extend(value.flatten().tolist())
        text = self._settled(self._text_of(self._token_ids))
        if text.startswith(self._given):
            self._give_rest_of(text)

    def end(self) -> None:
        """Hand on the rest; another text may follow."""
        text = self._text_of(self._token_ids or [])
        if not text.startswith(self._given):
            # Some tokenizers word tokens otherwise once others follow: then the text begins anew.
            self._give("\n")
            self._given = ""
        self._give_rest_of(text)
        self._token_ids, self._given = None, ""

    def _settled(self, text: str) -> str:
        """Leave out what may look different, or be no part of the text, once more tokens are there."""
        text = text.rstrip(_PART_OF_A_CHARACTER)
        for stop in self._stops:
            begun = next((size for size in range(len(stop) - 1, 0, -1) if text.endswith(stop[:size])), 0)
            text = text[: len(text) - begun]
        return text.rstrip()

    def _give_rest_of(self, text: str) -> None:
        if len(text) > len(self._given):
            self._give(text[len(self._given) :])
            self._given = text
