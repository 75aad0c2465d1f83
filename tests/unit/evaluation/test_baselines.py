"""Baselines against the base itself, given by hand what each should give it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from focusllm import FocusModel
from focusllm.errors import ConfigurationError, WindowError
from focusllm.evaluation.baselines import StreamingSystem, StretchedSystem, TruncatedSystem
from focusllm.evaluation.chunk_baselines import BestChunkSystem, RetrievalSystem
from focusllm.evaluation.ending import Ending
from focusllm.evaluation.systems import SYSTEMS
from tiny import BOS, SMALL, random_ids, tiny_base, tiny_tokenizer

# Long enough for the 96 tokens of a question to be a part of it.
WINDOW, NEW, EOS = 256, 5, 2
PROMPT = random_ids(1000)


def model_of(num_layers: int = 3, family: str = "llama", **changes: Any) -> FocusModel:
    base = tiny_base(family, vocab_size=300, max_position_embeddings=WINDOW, num_hidden_layers=num_layers, **changes)
    return FocusModel(base, replace(SMALL, chunk_length=100), tiny_tokenizer()).eval()


def greedy(model: FocusModel, ids: list[int], new: int = NEW) -> list[int]:
    given = torch.tensor([[BOS, *ids]])
    with model.disabled() as base:
        out = base.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=new, do_sample=False, pad_token_id=0
        )
    return out[0, given.shape[1] :].tolist()


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_fits_the_window_is_the_base_s_own_business(name: str) -> None:
    model = model_of()
    # Whether the tokenizer puts BOS there or not.
    for given in (PROMPT[:120], [BOS, *PROMPT[:120]]):
        assert SYSTEMS[name](model).continue_ids(given, NEW) == greedy(model, PROMPT[:120])


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("length", [120, 1000])
def test_an_ending_is_the_last_token_and_no_system_passes_it(name: str, length: int) -> None:
    model, prompt = model_of(), random_ids(length, seed=4)
    whole = SYSTEMS[name](model).continue_ids(prompt, NEW)
    assert len(whole) == NEW
    ended = SYSTEMS[name](model).continue_ids(prompt, NEW, Ending((whole[2],)))
    assert ended == whole[: whole.index(whole[2]) + 1]
    # Where so many tokens must come first, none of the ends is among them.
    started = SYSTEMS[name](model).continue_ids(prompt, NEW, Ending((whole[0],), min_new_tokens=2))
    assert len(started) >= 2
    assert not {whole[0], EOS} & set(started[:2])
    # Nor what is enough, of which the new tokens alone decide.
    assert SYSTEMS[name](model).continue_ids(prompt, NEW, Ending(is_enough=whole[:3].__eq__)) == whole[:3]


def test_truncation_keeps_what_it_says() -> None:
    model, room = model_of(), WINDOW - NEW - 1
    assert TruncatedSystem(model).continue_ids(PROMPT, NEW) == greedy(model, PROMPT[-room:])
    start = TruncatedSystem(model, "start").continue_ids(PROMPT, NEW)
    assert start == greedy(model, PROMPT[: room - 96] + PROMPT[-96:])
    ends = TruncatedSystem(model, "ends").continue_ids(PROMPT, NEW)
    assert ends == greedy(model, PROMPT[: room - room // 2] + PROMPT[-(room // 2) :])


@pytest.mark.parametrize("name", ["base-end", "base-start", "base-ends", "retrieval", "best-chunk"])
def test_answers_that_leave_no_room_for_a_prompt_are_refused(name: str) -> None:
    system = SYSTEMS[name](model_of())
    for new_tokens in (WINDOW - 1, WINDOW, 2 * WINDOW):
        with pytest.raises(WindowError, match=f"{new_tokens} new tokens leave 0 of the base's window"):
            system.continue_ids(PROMPT, new_tokens)
    # A single token of the prompt is better than none, and is its end.
    if name.startswith("base"):
        assert system.continue_ids(PROMPT, WINDOW - 2) == greedy(model_of(), PROMPT[-1:], WINDOW - 2)


def test_a_sliding_window_sees_the_first_tokens_and_the_last() -> None:
    """With one layer, what is kept of a token depends on nothing before it: the window is a text of its own."""
    model = model_of(num_layers=1)
    new = StreamingSystem(model).continue_ids(PROMPT, NEW)
    for step in range(NEW):
        text = [BOS, *PROMPT, *new[:step]]
        seen = text[:4] + text[-(WINDOW - 4) :]
        with torch.no_grad(), model.disabled() as base:
            assert int(base(torch.tensor([seen])).logits[0, -1].argmax()) == new[step]
    with pytest.raises(ConfigurationError, match="cannot slide"):
        StreamingSystem(model_of(family="gpt2")).continue_ids(PROMPT, NEW)


def test_retrieval_finds_the_chunk_that_shares_words_with_the_question() -> None:
    model = model_of()
    tokenizer = tiny_tokenizer()
    words = "the cat sat on a mat and saw that all was well in this small world of ours so it slept on "
    text = [words * 3, "nobody knew where zanzibar was, but ", words * 3]
    ids = tokenizer("".join(text) + words[:70] + " where is zanzibar?", add_special_tokens=False).input_ids
    chunks, question = RetrievalSystem(model)._cut(ids, NEW)
    best = RetrievalSystem(model)._ranked(chunks, question)[0]
    assert "zanzibar" in tokenizer.decode(chunks[best])
    room = WINDOW - NEW - 1 - len(question)
    assert len(chunks[best]) <= room < len(chunks[best]) * 2
    assert RetrievalSystem(model).continue_ids(ids, NEW) == greedy(model, [*chunks[best], *question])


def test_retrieval_finds_words_of_texts_without_gaps() -> None:
    model = model_of()
    system = RetrievalSystem(model)
    assert system._words(model.encode("Ab c_1 \u4f60\u597dab")) == ["ab", "c_1", "\u4f60", "\u597d", "ab"]
    filler, fact = "\u4eca\u5929\u5929\u6c14\u5f88\u597d" * 20, "\u94a5\u5319\u662f\u4e03" * 4
    ids = model.encode(filler + fact + filler + "\u94a5\u5319\u662f\u4ec0\u4e48")
    chunks, question = system._cut(ids, NEW)
    best = system._ranked(chunks, question)[0]
    assert "\u94a5\u5319" in model.tokenizer.decode(chunks[best])  # type: ignore[union-attr]
    assert best > 0


def test_retrieval_fills_the_window_and_does_without_words() -> None:
    model = model_of()
    system = RetrievalSystem(model)
    words = "the cat sat on a mat and saw that all was well in this small world of ours so it slept on "
    ids = model.encode(words * 3 + words[:30] + words + " where did the cat sleep?")
    chunks, question = system._cut(ids, NEW)
    ranked = system._ranked(chunks, question)
    room = WINDOW - NEW - 1 - len(question)
    assert len(chunks[-1]) <= room - len(chunks[0]) < len(chunks[0])
    # The shorter last chunk fits beside the best one, wherever it stands among the others.
    found = sorted({ranked[0], len(chunks) - 1})
    assert system.continue_ids(ids, NEW) == greedy(model, [*(t for n in found for t in chunks[n]), *question])
    # Without a word in common, or any at all, chunks are taken from the start.
    dashes = model.encode("- " * 300)
    chunks, question = system._cut(dashes, NEW)
    assert system._ranked(chunks, question) == list(range(len(chunks)))


def test_the_best_chunk_is_the_one_with_the_surest_first_token() -> None:
    model = model_of()
    chunks, question = BestChunkSystem(model)._cut(PROMPT, NEW)
    assert [token for chunk in chunks for token in chunk] + list(question) == PROMPT
    sureness = []
    for chunk in chunks:
        with torch.no_grad(), model.disabled() as base:
            scores = base(torch.tensor([[BOS, *chunk, *question]])).logits[0, -1]
        sureness.append(float(scores.softmax(-1).max()))
    best = sureness.index(max(sureness))
    assert BestChunkSystem(model).continue_ids(PROMPT, NEW) == greedy(model, [*chunks[best], *question])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "phi", "gpt_neox"])
def test_stretched_positions_are_those_of_transformers(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    model = model_of(family=family, dtype=dtype)
    given, length = torch.tensor([[BOS, *PROMPT]]), len(PROMPT) + NEW + 1
    scalings: dict[Any, dict[str, Any]] = {
        "linear": {"rope_type": "linear", "factor": length / WINDOW},
        "yarn": {"rope_type": "yarn", "factor": length / WINDOW, "original_max_position_embeddings": WINDOW},
        "dynamic": {"rope_type": "dynamic", "factor": 1.0},
    }
    with torch.no_grad(), model.disabled() as base:
        base.save_pretrained(tmp_path)
        base.generation_config.eos_token_id = [2, 5]
        own, plain = dict(base.config.rope_parameters), base(given).logits
        for scaling, rope in scalings.items():
            longest = WINDOW if scaling == "dynamic" else length
            changed = {"rope_parameters": {**own, **rope}, "max_position_embeddings": longest}
            theirs = AutoModelForCausalLM.from_pretrained(tmp_path, **changed, dtype=dtype)
            ours = StretchedSystem(model, scaling)._stretched(base, length)
            assert torch.equal(ours(given).logits, theirs(given).logits)
            assert not torch.equal(ours(given).logits, plain)
            # The weights are the base's own, and so are its ends.
            assert all(one is other for one, other in zip(ours.parameters(), base.parameters(), strict=True))
            assert ours.generation_config.eos_token_id == [2, 5]
        # The base is what it was.
        assert (base.config.rope_parameters, base.config.max_position_embeddings) == (own, WINDOW)
        assert torch.equal(base(given).logits, plain)


def test_dynamic_positions_grow_with_the_text() -> None:
    """The angles are those of the rule: the base of the rotary positions grows with the length beyond the window."""
    model = model_of()
    with torch.no_grad(), model.disabled() as base:
        stretched = StretchedSystem(model, "dynamic")._stretched(base, 1006)
        stretched(torch.tensor([[BOS, *PROMPT]]))
    size = base.config.hidden_size // base.config.num_attention_heads
    theta = 10000.0 * (1001 / WINDOW) ** (size / (size - 2))
    wanted = theta ** -(torch.arange(0, size, 2) / size)
    assert torch.allclose(stretched.model.rotary_emb.inv_freq, wanted)


def test_positions_that_cannot_be_scaled_are_refused() -> None:
    scaled = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    for model in (model_of(family="gpt2"), model_of(family="gemma3_text"), model_of(rope_parameters=scaled)):
        with pytest.raises(ConfigurationError, match="cannot be scaled"):
            StretchedSystem(model, "yarn").continue_ids(PROMPT, NEW)
        # What fits the window is not scaled.
        assert StretchedSystem(model, "yarn").continue_ids(PROMPT[:100], NEW) == greedy(model, PROMPT[:100])
