"""What may be given as a document and as a question, and what is refused in one sentence."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from jaxtyping import config as checks

from focusllm import FocusModel
from focusllm.errors import InputError
from tiny import SMALL, random_ids, tiny_base, tiny_model, tiny_tokenizer

IDS = random_ids(90)


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Leave out the type checks of the tests, which come before the errors that users see."""
    checks.update("jaxtyping_disable", True)
    yield
    checks.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def asked() -> FocusModel:
    return FocusModel(tiny_base(vocab_size=259, max_position_embeddings=256), SMALL, tiny_tokenizer()).eval()


@pytest.mark.parametrize("given", [tuple(IDS), torch.tensor(IDS), torch.tensor(IDS).int(), numpy.array(IDS), [*IDS]])
def test_a_row_of_token_ids_is_a_document(asked: FocusModel, given: Any) -> None:
    wanted = asked.ask(asked.index(IDS), "why?", max_new_tokens=3)
    assert list(asked.index(given).token_ids) == IDS
    assert asked.ask(given, "why?", max_new_tokens=3).token_ids == wanted.token_ids  # type: ignore[union-attr]
    [several] = asked.ask([given, torch.tensor(IDS[:9])], ["why?"], max_new_tokens=3)  # type: ignore[misc, list-item]
    assert several.num_tokens == wanted.num_tokens + 9  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (5, "A document is text, .* or token ids in one row; got 5 (int)"),
        (None, "A document is text, .*; got None (NoneType)"),
        (b"bytes", "A document is text, .*; got b'bytes' (bytes)"),
        ({"input_ids": IDS}, "A document is text, .* (dict)"),
        (torch.tensor([IDS]), "A document is text, .* in one row; got tensor.* (Tensor)"),
        (torch.tensor([0.5]), "A document is text, .* (Tensor)"),
        ([True, False], "A document is text, .* (list)"),
        (torch.tensor([], dtype=torch.int64), "The document is empty"),
        ([3, 259, 4], "Token 259 is not in the base's vocabulary, whose ids go from 0 to 258"),
        (torch.tensor([3, -1]), "Token -1 is not in the base's vocabulary"),
    ],
)
def test_what_is_no_document_is_refused(asked: FocusModel, given: Any, words: str) -> None:
    pattern = re.escape(words).replace(r"\.\*", ".*").replace(r"\ ", " ")
    calls: list[Callable[[], object]] = [lambda: asked.index(given), lambda: asked.ask(given, "why?")]
    for call in calls:
        with pytest.raises(InputError, match=pattern):
            call()


@pytest.mark.parametrize(
    "given", [5, [1, 2, 3], ["why?", 5], [["why?"]], torch.tensor(IDS), (word for word in ["why?"]), {"role": "user"}]
)
def test_what_is_no_question_is_refused(asked: FocusModel, given: Any) -> None:
    with pytest.raises(InputError, match="A question is text, or a conversation: a list of messages"):
        asked.ask("some text", given)


def test_a_question_that_is_missing_is_said_to_be(asked: FocusModel) -> None:
    for given in (None, [], ()):
        with pytest.raises(InputError, match="There is no question"):
            asked.ask("some text", given)  # type: ignore[arg-type]


def test_text_of_a_tokenizer_the_base_does_not_have_is_refused() -> None:
    model = FocusModel(tiny_base(), SMALL, tiny_tokenizer())
    for document, question in (("zebra", "!"), ([5, 6], "zebra")):
        with pytest.raises(InputError, match="encode text with the base's own tokenizer"):
            model.ask(document, question)


def test_tokens_the_base_does_not_know_are_refused_by_every_call() -> None:
    model, wrong = tiny_model(), torch.tensor([[*random_ids(80), 97]])
    calls: list[Callable[[], object]] = [
        lambda: model(wrong), lambda: model.prefill(wrong[:, -5:]), lambda: model.generate(wrong, max_new_tokens=2),
        lambda: model.step(model.prefill(wrong[:, :-1]), torch.tensor([97])),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InputError, match="Token 97 is not in the base's vocabulary, whose ids go from 0 to 96"):
            call()
    assert model.prefill(wrong, torch.tensor([[1] * 80 + [0]])).logits.isfinite().all()


def test_without_insert_bos_a_document_that_fits_gets_none_either(asked: FocusModel) -> None:
    tokens = [*asked.encode("short"), *asked.encode("\n\nQuestion: why?\nAnswer:")]
    wanted = {}
    for insert_bos in (True, False):
        asked.configure(insert_bos=insert_bos)
        [answer] = asked.ask("short", ["why?"], max_new_tokens=8, stop_strings=None)  # type: ignore[misc]
        whole = torch.tensor([[1] * insert_bos + tokens])
        with asked.disabled() as base:
            found = base.generate(whole, max_new_tokens=8, do_sample=False)  # type: ignore[operator]
        wanted[insert_bos] = tuple(found[0, whole.shape[1] :].tolist())
        assert answer.token_ids == wanted[insert_bos]
    assert wanted[True] != wanted[False]
    asked.configure(insert_bos=True)
