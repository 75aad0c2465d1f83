"""Equality 5: a document that was read once answers as if the whole sequence had been given with each question."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from focusllm import FocusModel
from focusllm.cache.layers import cache_from
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError, InputError
from focusllm.questions import local_context
from tiny import SMALL, disturb, random_ids, tiny_base, tiny_model, tiny_tokenizer

DOCUMENT, QUESTIONS = random_ids(60), [random_ids(10, seed) for seed in (1, 2, 1)]


def decoded(model: FocusModel, state: FocusState, steps: int = 4) -> list[torch.Tensor]:
    scores = [state.logits]
    for token in random_ids(steps, seed=5):
        state = model.step(state, torch.tensor([token]))
        scores.append(state.logits)
    return scores


@pytest.mark.parametrize("candidate_refresh", [1, 3, 0])
@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
def test_questions_one_after_the_other_equal_whole_sequences(candidate_refresh: int, local_refresh: str) -> None:
    config = replace(SMALL, candidate_refresh=candidate_refresh, local_refresh=local_refresh)
    model = tiny_model(config=config, dtype=torch.float32)
    document = model.index(DOCUMENT)
    for question in QUESTIONS:
        wanted = decoded(model, model.prefill(torch.tensor([DOCUMENT + question])))
        [sequence] = model._engine.split([DOCUMENT + question], 0)
        assert sequence.chunks == document.chunks
        assert document.cache is not None
        found = decoded(model, model._engine.ask([sequence], document.cache))
        assert all(torch.equal(f, w) for f, w in zip(found, wanted, strict=True))


def text_model() -> FocusModel:
    config = replace(SMALL, chunk_length=40, question_template=" Q: {question} A:")
    model = FocusModel(tiny_base(vocab_size=259, max_position_embeddings=128), config, tiny_tokenizer()).eval()
    disturb(model)
    return model


def test_several_documents_and_questions_equal_each_question_alone() -> None:
    model = text_model()
    texts = ["the first document, which has four chunks of text. " * 3, "the second one. " * 5]
    questions = ["what?", "a longer question?", "what?"]
    wanted = [model.ask(texts, question, max_new_tokens=6) for question in questions]
    indexed = [model.index(text) for text in texts]
    for documents in (texts, indexed, [indexed[0], texts[1]]):
        found = model.ask(documents, questions, max_new_tokens=6)
        assert [answer.token_ids for answer in found] == [answer.token_ids for answer in wanted]  # type: ignore[union-attr]
    assert wanted[0].num_chunks == 6  # type: ignore[union-attr]
    assert wanted[0].token_ids != wanted[1].token_ids  # type: ignore[union-attr]


def test_beams_over_an_indexed_document_equal_beams_over_the_text(tmp_path: Path) -> None:
    model = text_model()
    text = "a document, which has some chunks of text. " * 4
    model.index(text, tmp_path / "d")
    greedy = model.ask(text, "what?", max_new_tokens=6)
    beams = model.ask(text, "what?", max_new_tokens=6, num_beams=3)
    assert len(beams.chunk_shares) == len(beams.token_ids)  # type: ignore[union-attr]
    for document in (model.index(text), model.load_document(tmp_path / "d", device_budget=0)):
        for _ in range(2):
            answer = model.ask(document, "what?", max_new_tokens=6, num_beams=3)
            assert answer.token_ids == beams.token_ids  # type: ignore[union-attr]
            shares = zip(answer.chunk_shares, beams.chunk_shares, strict=True)  # type: ignore[union-attr]
            assert all(found == pytest.approx(wanted) for found, wanted in shares)
        assert model.ask(document, "what?", max_new_tokens=6).token_ids == greedy.token_ids  # type: ignore[union-attr]


def test_questions_and_conversations_asked_together_end_as_each_does_alone() -> None:
    model, text = text_model(), "a document of some chunks. " * 6
    assert model.tokenizer is not None
    model.tokenizer.chat_template = TEMPLATE
    free = model.ask(text, "why?", max_new_tokens=8, stop_strings=None)
    ending = model.tokenizer.decode(free.token_ids[1])  # type: ignore[union-attr]
    model.configure(answer_stops=(ending,))
    conversation = [{"role": "user", "content": "what?"}]
    alone = [model.ask(text, question, max_new_tokens=8) for question in (conversation, "why?")]
    together = model.ask(text, [conversation, "why?"], max_new_tokens=8)
    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]  # type: ignore[union-attr]
    assert 0 < len(together[1].token_ids) < 8  # type: ignore[index,union-attr]


def test_an_answer_ends_before_its_stop_whoever_gave_it() -> None:
    model, text = text_model(), "a document of some chunks. " * 6
    assert model.tokenizer is not None
    free = model.ask(text, "why?", max_new_tokens=8, stop_strings=None)
    said = model.tokenizer.decode(free.token_ids)  # type: ignore[union-attr]
    stop = model.tokenizer.decode(free.token_ids[2:4])  # type: ignore[union-attr]
    ended = model.ask(text, "why?", max_new_tokens=8, stop_strings=[stop])
    assert ended.text == said.partition(stop)[0].strip() != ""  # type: ignore[union-attr]


def test_without_a_document_or_a_question_nothing_is_asked() -> None:
    model = text_model()
    with pytest.raises(InputError, match="There is no document"):
        model.ask([], "why?")
    with pytest.raises(InputError, match="There is no question"):
        model.ask("a document", [])


def test_a_document_within_the_window_is_not_read_before_it_is_needed() -> None:
    model = text_model()
    document = model._reader.open("short")
    answer = model.ask(document, "why?", max_new_tokens=3)
    assert document.cache is None
    assert answer.num_chunks == 0  # type: ignore[union-attr]
    assert answer.token_ids == model.ask("short", "why?", max_new_tokens=3).token_ids  # type: ignore[union-attr]


@pytest.mark.parametrize(("local_refresh", "per_chunk"), [("recompute", 1), ("cached", 1), ("recompute", 2)])
def test_recorded_attention_is_the_base_s_and_changes_nothing(local_refresh: str, per_chunk: int) -> None:
    """Against the weights that the plain attention of transformers returns."""
    model = tiny_model("qwen2", replace(SMALL, local_refresh=local_refresh, candidates_per_chunk=per_chunk))
    [sequence] = model._engine.split([DOCUMENT + QUESTIONS[0]], 0)
    cache = model.index(DOCUMENT).cache
    assert cache is not None
    wanted = decoded(model, model._engine.ask([sequence], cache))
    state = model._engine.ask([sequence], cache, records=True)
    assert all(torch.equal(f, w) for f, w in zip(decoded(model, state), wanted, strict=True))
    [shares] = state.shares
    assert shares is not None
    assert shares.shape == (3, 5)
    if local_refresh == "cached":
        return
    [local] = state.locals
    assert local.candidates is not None
    model.base.set_attn_implementation("eager")
    front, first = cache_from(local.candidates.layers), 5 * per_chunk
    with torch.no_grad():
        attentions = model.base(
            local.token_ids,
            position_ids=torch.arange(first, first + local.token_ids.shape[1])[None],
            past_key_values=front,
            output_attentions=True,
        ).attentions
    for layer, weights in enumerate(attentions):
        to_chunks = weights[0, :, -1, :first].mean(dim=0).unflatten(0, (5, per_chunk)).sum(dim=-1)
        assert torch.allclose(shares[layer].double(), to_chunks, atol=1e-6)


def test_the_evidence_of_an_answer_is_a_chunk_of_the_document() -> None:
    model = text_model()
    texts = ["the first document,\nwhich has four chunks of text.\n" * 3, "the second one. " * 5]
    answer = model.ask(texts, "what?", max_new_tokens=6)
    assert len(answer.evidence) == 3  # type: ignore[union-attr]
    shares = [span.share for span in answer.evidence]  # type: ignore[union-attr]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1
    parts = torch.tensor(answer.chunk_shares)  # type: ignore[union-attr]
    assert parts.shape == (len(answer.token_ids), answer.num_chunks)  # type: ignore[union-attr]
    assert torch.allclose(parts.sum(dim=1), torch.ones(parts.shape[0]))
    for span in answer.evidence:  # type: ignore[union-attr]
        [text] = [text for text in texts if span.text in text]
        assert text[span.first_token :].startswith(span.text)
        assert span.first_line == 1 + text[: span.first_token].count("\n")
    assert model.ask("short", "what?", max_new_tokens=2).evidence == ()  # type: ignore[union-attr]


def test_evidence_of_token_ids_is_what_stands_where_it_says() -> None:
    model = text_model().configure(chunk_overlap=7)
    ids = model.encode("a document, which has some chunks of text. " * 4)
    answer = model.ask(ids, "what?", max_new_tokens=2)
    for span in answer.evidence:  # type: ignore[union-attr]
        assert model.encode(span.text) == ids[span.first_token : span.first_token + 40]


def test_what_was_said_before_is_part_of_the_question_as_far_as_there_is_room() -> None:
    model = text_model().configure(local_length=45)
    text = "a document with a few chunks of text. " * 3
    history = [("first?", "one"), ("second?", "two")]
    said = " Q: second? A: two Q: third? A:"

    def local(question: str, before: list[tuple[str, str]]) -> list[int]:
        assert model.tokenizer is not None
        return local_context(question, before, model.tokenizer, model.config, model.config.local_length)

    assert local("third?", history) == model.encode(said)
    assert local("third?", history[:1]) == model.encode(" Q: first? A: one Q: third? A:")
    assert local("third? " * 9, history) == model.encode(" Q:" + " third?" * 9 + " A:")
    found = model.ask(text, "third?", history=history, max_new_tokens=4)
    whole = torch.tensor([model.encode(text + said)])
    wanted = model.configure(local_length=len(said)).generate(whole, max_new_tokens=4)
    assert list(found.token_ids) == wanted[0, whole.shape[1] :].tolist()  # type: ignore[union-attr,index]


def test_progress_ends_at_its_total_where_chunks_overlap() -> None:
    seen: list[tuple[int, int]] = []
    model = tiny_model(config=replace(SMALL, chunk_overlap=5))
    document = model.index(DOCUMENT, progress=lambda read, total: seen.append((read, total)))
    assert seen[-1] == (document.num_chunk_tokens, document.num_chunk_tokens) == (80, 80)


TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[me]{% endif %}"
)


def test_a_conversation_is_worded_by_the_chat_template() -> None:
    model = text_model()
    text = "a document of some chunks. " * 6
    turns = [
        {"role": "user", "content": "what?"},
        {"role": "me", "content": "that"},
        {"role": "user", "content": "why?"},
    ]
    with pytest.raises(ConfigurationError, match="no chat template"):
        model.ask(text, turns)
    assert model.tokenizer is not None
    model.tokenizer.chat_template = TEMPLATE
    one = model.ask(text, turns, max_new_tokens=4)
    local = model.encode("[user] what?\n[me] that\n[user] why?\n[me]")
    ids = torch.tensor([model.encode(text) + local])
    model.configure(local_length=len(local))
    assert list(one.token_ids) == model.generate(ids, max_new_tokens=4)[0, ids.shape[1] :].tolist()  # type: ignore[union-attr]
    several = model.ask(text, [turns, "why?"], max_new_tokens=4)
    assert several[0].token_ids == one.token_ids  # type: ignore[index,union-attr]
    with pytest.raises(InputError, match="`role` and `content`"):
        model.ask(text, [{"content": "what?"}])
    with pytest.raises(ConfigurationError, match="leave out `history`"):
        model.ask(text, turns, history=[("a", "b")])


def test_a_question_that_was_interrupted_leaves_the_document_as_it_was() -> None:
    model, longer = text_model(), "another question, for which there is no room yet behind any chunk?"
    text = "a document, which has some chunks of text. " * 4
    model.configure(dynamic_prompt_length=60)
    wanted = model.ask(text, longer, max_new_tokens=6).chunk_shares  # type: ignore[union-attr]
    document = model.configure(dynamic_prompt_length=6).index(text)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    hook = model.base.model.layers[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.ask(document, "what?", max_new_tokens=6)
    hook.remove()
    model.configure(dynamic_prompt_length=60)
    assert model.ask(document, longer, max_new_tokens=6).chunk_shares == wanted  # type: ignore[union-attr]


def test_threads_that_share_a_model_and_a_document_get_what_each_gets_alone() -> None:
    model, text = text_model(), "a document, which has some chunks of text. " * 4
    document = model.index(text)
    questions = [f"what is {number}?" for number in range(8)]
    ids = torch.tensor([random_ids(200)])
    wanted = [answer.chunk_shares for answer in model.ask(document, questions, max_new_tokens=4)]  # type: ignore[union-attr]
    drawn = model.generate(ids, max_new_tokens=4, do_sample=True, seed=3)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(model.ask, document, question, max_new_tokens=4) for question in questions]
        draws = [threads.submit(model.generate, ids, max_new_tokens=4, do_sample=True, seed=3) for _ in range(4)]
    assert [found.result().chunk_shares for found in asked] == wanted  # type: ignore[union-attr]
    assert all(torch.equal(found.result(), drawn) for found in draws)  # type: ignore[arg-type]
