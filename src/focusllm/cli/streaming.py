"""Answers that are printed while they are decoded."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from focusllm.growing_text import GrowingText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from focusllm.model import FocusModel


def printer_of(model: "FocusModel", before: Callable[[], None] = lambda: None) -> "AnswerPrinter":
    """Return what prints a model's answers to questions; ``before`` is called before anything is printed."""
    return AnswerPrinter(model.tokenizer, model.config.answer_stops or (), before)


class AnswerPrinter(GrowingText):
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
        def text_of(token_ids: list[int]) -> str:
            from focusllm.answering import text_of_answer

            assert tokenizer is not None  # it has turned the question into tokens
            return text_of_answer(tokenizer, token_ids, stops)

        def show(piece: str) -> None:
            before()
            typer.echo(piece, nl=False)

        super().__init__(text_of, stops, show)

    def end(self) -> None:
        """Print the rest, and end the line; another answer may follow."""
        super().end()
        typer.echo()
