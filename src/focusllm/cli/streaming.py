"""Answers that are printed while they are decoded."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from focusllm.model import FocusModel

# What stands for bytes that are not a whole character yet.
_PART_OF_A_CHARACTER = "\ufffd"


def printer_of(model: "FocusModel", before: Callable[[], None] = lambda: None) -> "AnswerPrinter":
    """Return what prints a model's answers to questions; ``before`` is called before anything is printed."""
    return AnswerPrinter(model.tokenizer, model.config.answer_stops or (), before)


class AnswerPrinter:
    """A streamer that prints an answer as far as it is settled; what it has printed in the end is the answer's text.

    Args:
        tokenizer: Turns tokens into text; a model without one answers no questions.
        stops: What ends an answer, and is no part of it.
        before: Called before anything is printed.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase | None",
        stops: Sequence[str] = (),
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._tokenizer, self._stops, self._before = tokenizer, stops, before
        self._token_ids: list[int] | None = None
        self._printed = ""

    def put(self, value: Any) -> None:
        """Take the prompt, which is not printed, or further tokens of the answer."""
        if self._token_ids is None:
            self._token_ids = []
            return
        self._token_ids += value.flatten().tolist()
        text = self._settled(self._text())
        if text.startswith(self._printed):
            self._print(text)

    def end(self) -> None:
        """Print the rest, and end the line; another answer may follow."""
        text = self._text()
        if not text.startswith(self._printed):
            # Some tokenizers word tokens otherwise once others follow: then the answer is printed anew.
            typer.echo()
            self._printed = ""
        self._print(text)
        typer.echo()
        self._token_ids, self._printed = None, ""

    def _text(self) -> str:
        from focusllm.answering import text_of_answer

        assert self._tokenizer is not None  # it has turned the question into tokens
        return text_of_answer(self._tokenizer, self._token_ids or [], self._stops)

    def _settled(self, text: str) -> str:
        """Leave out what may look different, or be no part of the answer, once more tokens are there."""
        text = text.rstrip(_PART_OF_A_CHARACTER)
        for stop in self._stops:
            begun = next((size for size in range(len(stop) - 1, 0, -1) if text.endswith(stop[:size])), 0)
            text = text[: len(text) - begun]
        return text.rstrip()

    def _print(self, text: str) -> None:
        if len(text) > len(self._printed):
            self._before()
            typer.echo(text[len(self._printed) :], nl=False)
            self._printed = text
