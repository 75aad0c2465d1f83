"""What may be given as a document and as a question, and what is refused in one sentence."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from jaxtyping import config as checks
from tokenizers import normalizers

from focusllm import FocusModel
from focusllm.answering import Answerer
from focusllm.errors import ConfigurationError, InputError, WindowError
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


@pytest.mark.parametrize(
    "given", [tuple(IDS), list(numpy.array(IDS)), torch.tensor(IDS), torch.tensor(IDS).int(), numpy.array(IDS), [*IDS]]
)
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


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}\n{% endfor %}[me]"
)


def test_what_is_not_unicode_is_refused_in_questions_too(asked: FocusModel) -> None:
    asked.tokenizer.chat_template = TEMPLATE  # type: ignore[union-attr]
    questions: list[Any] = ["why \udce9?", [{"role": "user", "content": "why \udce9?"}]]
    for question in questions:
        with pytest.raises(InputError, match="which is not Unicode text"):
            asked.ask("some text", question)
    with pytest.raises(InputError, match="which is not Unicode text"):
        asked.ask("some text", "why?", history=[("what?", "\ud800")])


def test_a_conversation_that_the_template_refuses_is_one_sentence(asked: FocusModel) -> None:
    asked.tokenizer.chat_template = TEMPLATE  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"refuses this conversation \(System role not supported\)"):
        asked.ask("some text", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why?"}])


def test_the_bos_of_a_chat_template_stands_at_the_head_and_nowhere_else(asked: FocusModel) -> None:
    asked.tokenizer.chat_template = TEMPLATE  # type: ignore[union-attr]
    turns = [{"role": "user", "content": "why?"}]
    worded = asked.encode("[user] why?\n[me]")
    with asked.disabled() as base:
        whole = torch.tensor([[1, *asked.encode("short"), *worded]])
        wanted = base.generate(whole, max_new_tokens=4, do_sample=False)  # type: ignore[operator]
    found: Any = asked.ask("short", turns, max_new_tokens=4)
    assert found.token_ids == tuple(wanted[0, whole.shape[1] :].tolist())
    long, ids = "a text of many words. " * 15, torch.tensor([asked.encode("a text of many words. " * 15) + worded])
    model = FocusModel(asked.detach(), replace(SMALL, local_length=len(worded)), asked.tokenizer).eval()
    found = model.ask(long, turns, max_new_tokens=4)
    assert found.token_ids == tuple(model.generate(ids, max_new_tokens=4)[0, ids.shape[1] :].tolist())  # type: ignore[index]
    model.detach()
    asked.adapter.attach()


def test_history_is_left_out_as_far_as_the_window_has_no_room_for_it(asked: FocusModel) -> None:
    text, before = "a text of many words. " * 15, [("what is it?", "a text")] * 20
    for changes in ({"local_length": 1000}, {"local_length": 1000, "dynamic_prompt_length": 1000}):
        model = asked.configure(**changes)
        found: Any = model.ask(text, "why?", history=before, max_new_tokens=4)
        count = next(n for n in range(20, 0, -1) if _fits(model, text, before[:n]))
        assert 0 < count < 20
        wanted: Any = model.ask(text, "why?", history=before[:count], max_new_tokens=4)
        assert found.chunk_shares == wanted.chunk_shares
        assert found.num_tokens == wanted.num_tokens
    asked.configure(local_length=10, dynamic_prompt_length=6)


def test_a_history_is_pairs_of_texts_or_nothing(asked: FocusModel) -> None:
    asked.configure(local_length=1000)
    wanted: Any = asked.ask("some text", "why?", max_new_tokens=2)
    assert asked.ask("some text", "why?", history=None, max_new_tokens=2).token_ids == wanted.token_ids
    pairs: Any = [("what?", "a text")]
    worded: Any = asked.ask("some text", "why?", history=(pair for pair in pairs), max_new_tokens=2)
    assert worded.num_tokens == asked.ask("some text", "why?", history=pairs, max_new_tokens=2).num_tokens
    assert worded.num_tokens > wanted.num_tokens
    asked.configure(local_length=10)
    for given in (["no"], "no", [{"role": "user", "content": "x"}], [("what?", wanted)], [("a", "b", "c")], 5):
        with pytest.raises(InputError, match="`history` is made of pairs of texts, question and answer; got"):
            asked.ask("some text", "why?", history=given)


def test_a_configuration_is_one_of_transformers(asked: FocusModel) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a transformers\.GenerationConfig; got dict"):
        asked.generate(torch.tensor([IDS]), generation_config={"max_new_tokens": 3})  # type: ignore[call-overload]


def test_numbers_of_tokens_and_bytes_are_numbers(asked: FocusModel) -> None:
    for count in ("300", 3.5, None):
        with pytest.raises(InputError, match=f"`num_tokens` must be a whole number, at least one token; got {count!r}"):
            asked.estimate(count)  # type: ignore[arg-type]
    for size in ("4GB", -1, float("nan")):
        for name in ("device_budget", "cpu_budget"):
            with pytest.raises(ConfigurationError, match=f"`{name}` must be a number of bytes, 0 or more; got"):
                asked.index(IDS, **{name: size})  # type: ignore[arg-type]
    assert asked.index(IDS, device_budget=4e9).num_bytes() > 0  # type: ignore[arg-type]


def test_text_that_makes_no_tokens_is_empty(asked: FocusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = normalizers.Replace("\u200b", "")
    monkeypatch.setattr(asked.tokenizer.backend_tokenizer, "normalizer", nothing)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="The document is empty"):
        asked.index("\u200b\u200b")


def test_a_document_is_shown_in_one_line(asked: FocusModel) -> None:
    document = asked.index("a text of many words. " * 15)
    shown = repr(document)
    assert f"{document.name!r}, num_tokens={document.num_tokens}, num_chunks={document.num_chunks}" in shown
    assert len(shown) < 150
    assert "many words" not in shown


def test_an_answer_is_shown_without_the_text_it_rests_on(asked: FocusModel) -> None:
    answer = asked.ask("a text of many words. " * 15, "why?", max_new_tokens=3)
    shown = repr(answer)
    assert answer.evidence[0].text
    assert answer.chunk_shares
    assert f"Answer(text={answer.text!r}" in shown
    assert f"first_token={answer.evidence[0].first_token}" in shown
    assert "many words" not in shown
    assert "chunk_shares" not in shown


@pytest.mark.parametrize("seed", ["x", 2**70, 1.5])
def test_a_seed_is_a_number_and_known_to_be_one_before_anything_is_read(asked: FocusModel, seed: Any) -> None:
    def read(*_: int) -> None:
        pytest.fail("nothing must be read")

    calls: list[Callable[[], object]] = [
        lambda: asked.ask("a text of many words. " * 15, "why?", seed=seed, progress=read),
        lambda: asked.generate(torch.tensor([IDS * 4]), seed=seed, progress=read),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="`seed` must be a whole number of at most 64 bits; got"):
            call()


def test_no_limit_is_the_usual_one(asked: FocusModel) -> None:
    found: Any = asked.ask("some text", "why?", max_new_tokens=None, stop_strings=None, eos_token_id=None)  # type: ignore[call-overload]
    assert len(found.token_ids) == 64


def _fits(model: FocusModel, text: str, history: list[tuple[str, str]]) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusllm.answering.room_for_local", lambda *_: 10**6)
        try:
            model.ask(text, "why?", history=history, max_new_tokens=4)
        except WindowError:
            return False
        return True


def test_each_answer_is_there_before_the_next_question_is_asked(
    asked: FocusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[object] = []
    answer = Answerer._answer
    monkeypatch.setattr(Answerer, "_answer", lambda *given: asked_for.append(given) or answer(*given))
    answers = asked.answers("What? " * 60, ["What?", "And then?"], max_new_tokens=2)
    assert [len(asked_for) for _ in answers] == [1, 2]


def test_a_document_has_the_name_it_is_given(
    asked: FocusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a text of many words. " * 15
    for source in (text, IDS, asked.index(text)):
        assert asked.index(source, name="novel").name == "novel"
    answer: Any = asked.ask(asked.index(text, tmp_path / "folder", name="novel"), "why?", max_new_tokens=2)
    assert answer.evidence[0].document == "novel"
    assert asked.load_document(tmp_path / "folder").name == "novel"
    # Whoever names a text does not mean a file by it.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("something else")
    assert asked.index("notes", name="novel").text == "notes"
    with pytest.raises(InputError, match="'notes' is the name of a file"):
        asked.index("notes")


def test_nothing_is_read_of_what_no_question_fits_behind(asked: FocusModel) -> None:
    def read(*_: int) -> None:
        pytest.fail("nothing must be read")

    with pytest.raises(WindowError, match="254 candidates and 3 local tokens"):
        asked.index([5] * 12 * 254, progress=read)
    assert asked.index([5] * 12 * 253).num_chunks == 253
