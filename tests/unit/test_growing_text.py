"""Text that is handed on while it is decoded: nothing is taken back, and all of it comes."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from focusllm.answering import text_of_tokens
from focusllm.growing_text import GrowingText


def handed_on(texts: list[str], stops: tuple[str, ...] = ()) -> list[str]:
    """Return the pieces that come of a text which is each of these after one token more."""
    pieces: list[str] = []
    growing = GrowingText(lambda token_ids: texts[len(token_ids) - 1] if token_ids else "", stops, pieces.append)
    growing.put(torch.tensor([[1, 2, 3]]))
    for _ in texts:
        growing.put(torch.tensor([0]))
    growing.end()
    return pieces


@pytest.mark.parametrize(
    ("texts", "stops", "pieces"),
    [
        (["a", "a b", "a b "], (), ["a", " b", " "]),
        (["a", "a\ufffd", "aé"], (), ["a", "é"]),
        (["a", "a<", "a<b"], ("<|",), ["a", "<b"]),
        (["a", "a<", "a"], ("<|",), ["a"]),
        ([""], (), []),
    ],
)
def test_only_what_is_settled_is_handed_on(texts: list[str], stops: tuple[str, ...], pieces: list[str]) -> None:
    assert handed_on(texts, stops) == pieces


def test_a_text_that_is_worded_otherwise_in_the_end_begins_anew() -> None:
    assert handed_on(["do", "do n", "don't"]) == ["do", " n", "\n", "don't"]


def test_a_space_between_a_text_and_what_goes_on_from_it_is_kept() -> None:
    tokenizer = Tokenizer(models.WordLevel({"\u2581to": 0, "\u2581be": 1, "or": 2}, unk_token="or"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert text_of_tokens(fast, [1], None) == "be"
    assert text_of_tokens(fast, [1], None, before=[0]) == " be"
    assert text_of_tokens(fast, [2, 1, 0], ["to"], before=[1]) == "or be "
