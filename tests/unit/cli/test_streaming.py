"""What is printed of an answer while it is decoded."""

import pytest
import torch

from focusllm import FocusModel
from focusllm.cli.streaming import AnswerPrinter

TEXT = " größer als 😀 你好, and so on\n\nand more"


@pytest.fixture(scope="module")
def model() -> FocusModel:
    return FocusModel.from_pretrained()


def printed(model: FocusModel, text: str, stops: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Hand an answer to a printer token by token; return what it has printed after each."""
    calls: list[int] = []
    printer = AnswerPrinter(model.tokenizer, stops, lambda: calls.append(1))
    ids = model.encode(text)
    so_far = [""]
    printer.put(torch.tensor([model.encode("What is it?")]))
    for token in ids:
        printer.put(torch.tensor([token]))
        so_far.append(so_far[-1] + capsys.readouterr().out)
    printer.end()
    assert calls
    return [*so_far, so_far[-1] + capsys.readouterr().out]


@pytest.mark.parametrize(
    ("stops", "answer"),
    [
        ((), "größer als 😀 你好, and so on\n\nand more"),
        (("\n",), "größer als 😀 你好, and so on"),
        (("\n\nand",), "größer als 😀 你好, and so on"),
        (("\n\nNo",), "größer als 😀 你好, and so on\n\nand more"),
    ],
)
def test_an_answer_grows_into_its_text(
    model: FocusModel, stops: tuple[str, ...], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = printed(model, TEXT, stops, capsys)
    assert steps[-1] == answer + "\n"
    # Nothing printed was taken back, or a part of a character; and it did not all come at the end.
    assert all(steps[-1].startswith(step) for step in steps)
    assert len(set(steps)) > 8


def test_one_printer_prints_several_answers(model: FocusModel, capsys: pytest.CaptureFixture[str]) -> None:
    printer = AnswerPrinter(model.tokenizer)
    for word in ("one", "two"):
        printer.put(torch.tensor([[1, 2]]))
        printer.put(torch.tensor(model.encode(word)))
        printer.end()
    assert capsys.readouterr().out == "one\ntwo\n"
