"""lm-evaluation-harness gets from FocusLLM what its own model gives within the window, and decoding beyond it."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from focusllm import FocusModel
from focusllm.chunking import SplitSequence
from focusllm.evaluation.continuations import ContinuationScorer
from tiny import BOS, SMALL, disturb, random_ids, tiny_base, tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from focusllm.evaluation.harness import FocusLM

WINDOW, STRIDE = 64, 8
# The paper's way of decoding, and every cheaper kind.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"local_refresh": "recompute"},
    {"local_refresh": "cached"},
    {"local_refresh": "cached", "candidate_refresh": 0},
    {"local_refresh": "cached", "candidate_refresh": 3},
    {"local_refresh": "recompute", "candidate_refresh": 0},
    {"local_refresh": "cached", "candidate_refresh": 4, "focus_share": 0.5},
)
CONTEXT = random_ids(90)
RAGGED = [random_ids(length, seed=length) for length in (1, 4, 2, 7)]


def text_model(**changes: Any) -> FocusModel:
    base: Any = tiny_base(vocab_size=259)
    model = FocusModel(base, replace(SMALL, **changes), tiny_tokenizer()).eval()
    disturb(model)
    return model


def harness_s_own() -> HFLM:
    base: Any = tiny_base(vocab_size=259)
    return HFLM(base, tokenizer=tiny_tokenizer(), max_length=WINDOW, batch_size=1, device="cpu")


def asked(kind: Any, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0)


def words(rng: random.Random, length: int) -> str:
    return "".join(rng.choice("abcdefgh  \n") for _ in range(length))


def by_hand(model: FocusModel, state: Any, continuation: list[int]) -> tuple[float, bool]:
    """Decode a continuation token by token with the model's own steps."""
    total, is_greedy = 0.0, True
    for token in continuation:
        total += float(state.logits[0].log_softmax(-1)[token])
        is_greedy &= int(state.logits[0].argmax()) == token
        state = model.step(state, torch.tensor([token]))
    return total, is_greedy


def greedy(model: FocusModel, context: list[int], count: int) -> list[int]:
    """Generate exactly so many tokens: nothing ends it."""
    return model.generate(torch.tensor([context]), max_new_tokens=count, eos_token_id=[])[0, len(context) :].tolist()  # type: ignore[union-attr]


def test_within_the_window_it_is_the_harness_s_own_model() -> None:
    rng = random.Random(0)
    pairs = [(words(rng, rng.randint(1, 40)) + " " * (n % 3), words(rng, rng.randint(1, 20))) for n in range(20)]
    pairs += [("", "begins with nothing"), pairs[0], (pairs[1][0], "another end")]
    requests = [asked("loglikelihood", *pair) for pair in pairs if pair[0].strip() or not pair[0]]
    wanted = harness_s_own().loglikelihood(requests, disable_tqdm=True)
    found = FocusLM(text_model()).loglikelihood(requests, disable_tqdm=True)
    assert len(found) == len(requests) >= 20
    for (ours, is_greedy), (theirs, was_greedy) in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-6)
        assert is_greedy == was_greedy


def test_both_call_the_same_continuations_greedy() -> None:
    model, own = text_model(), harness_s_own()
    context = random_ids(30)
    likely = greedy(model, context, 6)
    other = [*likely[:5], (likely[5] + 1) % 259]
    requests: Any = [(("", ""), context, likely), (("", ""), context, other), (("", ""), context, likely[:1])]
    found = FocusLM(model)._loglikelihood_tokens(requests, disable_tqdm=True)
    wanted = own._loglikelihood_tokens(requests, disable_tqdm=True)
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in wanted] == [True, False, True]
    assert [total for total, _ in found] == pytest.approx([total for total, _ in wanted], abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_beyond_the_window_it_is_decoding_step_by_step(settings: dict[str, Any]) -> None:
    model = tiny_model(config=replace(SMALL, **settings))
    likely = greedy(model, CONTEXT, 5)
    continuations = [*RAGGED, likely, [*likely[:4], (likely[4] + 1) % 97]]
    found = ContinuationScorer(model).scores(CONTEXT, continuations)
    for score, continuation in zip(found, continuations, strict=True):
        total, is_greedy = by_hand(model, model.prefill(torch.tensor([CONTEXT])), continuation)
        assert score.log_probability == pytest.approx(total, abs=1e-5)
        assert score.is_greedy == is_greedy
    assert [score.is_greedy for score in found[-2:]] == [True, False]
    # Without chunks something else would have been found.
    alone = by_hand(model, model.prefill(torch.tensor([CONTEXT[-10:]])), likely)[0]
    assert abs(found[-2].log_probability - alone) > 1e-2


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7])
def test_one_pass_ends_where_candidates_are_made_again(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(config=replace(SMALL, local_refresh="cached", candidate_refresh=3))
    continuation, steps, step = random_ids(length, seed=length), [0], model._engine.step

    def counted(*arguments: Any) -> Any:
        steps[0] += 1
        return step(*arguments)

    monkeypatch.setattr(model._engine, "step", counted)
    [score] = ContinuationScorer(model).scores(CONTEXT, [continuation])
    assert steps[0] == (length - 1 if length > 3 else 0)
    total, _ = by_hand(model, model.prefill(torch.tensor([CONTEXT])), continuation)
    assert score.log_probability == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_what_only_the_continuation_makes_too_long_is_divided_as_generation_does(settings: dict[str, Any]) -> None:
    model = tiny_model(config=replace(SMALL, **settings))
    for length in (WINDOW - 12, WINDOW - 11, WINDOW):
        context = random_ids(length, seed=length)
        likely = greedy(model, context, 12)  # more than a segment
        [score] = ContinuationScorer(model).scores(context, [likely])
        assert score.is_greedy
        kept = [] if length + 12 <= WINDOW else [context[: length - 10]]
        chunks = tuple(part[start : start + 12] for part in kept for start in range(0, len(part), 12))
        state = model._engine.prefill([SplitSequence(chunks, context[-10:] if chunks else context)])
        assert score.log_probability == pytest.approx(by_hand(model, state, likely)[0], abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
def test_choices_read_the_chunks_of_their_context_once(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = text_model(**settings)
    read: list[int] = []
    index = model._engine.index

    def counted(documents: Any, *arguments: Any, **named: Any) -> Any:
        read.append(sum(len(chunk) for document in documents for chunk in document))
        return index(documents, *arguments, **named)

    monkeypatch.setattr(model._engine, "index", counted)
    rng = random.Random(1)
    contexts = [words(rng, 90) + "x", words(rng, 120) + "x"]
    pairs = [(context, end) for end in (" a", " long end", " b") for context in contexts]
    lm = FocusLM(model)
    together = lm.loglikelihood([asked("loglikelihood", *pair) for pair in pairs], disable_tqdm=True)
    assert read == [121 - 10, 91 - 10]
    alone = [lm.loglikelihood([asked("loglikelihood", *pair)], disable_tqdm=True)[0] for pair in pairs]
    assert [total for total, _ in together] == pytest.approx([total for total, _ in alone], abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=str)
@pytest.mark.parametrize("length", [1, 9, 63, 64, 101])
def test_a_whole_text_is_scored_token_by_token_each_once(settings: dict[str, Any], length: int) -> None:
    model = text_model(**settings)
    text = words(random.Random(length), length)
    ids = [BOS, *model.encode(text)]
    found = FocusLM(model).loglikelihood_rolling([asked("loglikelihood_rolling", text)], disable_tqdm=True)
    if len(ids) > WINDOW:
        assert found == [pytest.approx(by_segments(model, ids, 1), abs=1e-4)]
        return
    assert found == [pytest.approx(by_hand(model, model.prefill(torch.tensor([[BOS]])), ids[1:])[0], abs=1e-4)]
    wanted = harness_s_own().loglikelihood_rolling([asked("loglikelihood_rolling", text)], disable_tqdm=True)
    assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("context", "continuation"), [(5, 60), (90, 60)])
def test_a_continuation_beyond_the_window_goes_on_in_segments(context: int, continuation: int) -> None:
    model = tiny_model(config=replace(SMALL, local_refresh="cached"))
    ids = random_ids(context + continuation)
    [score] = ContinuationScorer(model).scores(ids[:context], [ids[context:]])
    assert score.log_probability == pytest.approx(by_segments(model, ids, context), abs=1e-4)


def by_segments(model: FocusModel, ids: list[int], first: int) -> float:
    """Decode tokens step by step, from a new division every so many: whole as long as that fits the window."""
    total, counted = 0.0, 0
    for start in range(first, len(ids), STRIDE):
        before, some = ids[:start], ids[start : start + STRIDE]
        cut = start - 10 if start > WINDOW - STRIDE - 1 else 0
        chunks = tuple(before[:cut][place : place + 12] for place in range(0, cut, 12))
        total += by_hand(model, model._engine.prefill([SplitSequence(chunks, before[cut:])]), some)[0]
        counted += len(some)
    assert counted == len(ids) - first
    return total


def speaking_model() -> FocusModel:
    """A model that writes ASCII alone, without end."""
    model = text_model()
    texts = [model.tokenizer.decode([token]) for token in range(259)]  # type: ignore[union-attr]
    model.base.generation_config.suppress_tokens = [
        token for token, text in enumerate(texts) if not (text.isascii() and text.isprintable()) or token < 3
    ]
    model.base.generation_config.eos_token_id = None
    return model


def continued(model: FocusModel, context: str, **settings: Any) -> str:
    ids = model.encode(context)
    output: Any = model.generate(torch.tensor([ids]), max_new_tokens=10, **settings)
    return model.tokenizer.decode(output[0, len(ids) :])  # type: ignore[union-attr,return-value]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_generation_is_focus_model_s_up_to_a_stop(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rng = speaking_model(), random.Random(2)
    contexts = [words(rng, length) + "x" for length in (100, 20, 75, 41)]
    lm = FocusLM(model, batch_size=batch_size)
    free = [continued(model, context) for context in contexts]
    assert [len(text) for text in free] == [10] * 4
    greedily: dict[str, Any] = {"max_gen_toks": 10, "do_sample": False, "temperature": 0.0, "top_p": 1.0}
    # Two texts that end an answer, one of them only together with what stands before it.
    pairs = [
        (context, {**greedily, "until": [context[-1] + text[0], text[4:6]]})
        for context, text in zip(contexts, free, strict=True)
    ]
    pairs += [(context, greedily) for context in contexts]
    steps, step = [0], model._engine.step

    def counted(*arguments: Any) -> Any:
        steps[0] += 1
        return step(*arguments)

    monkeypatch.setattr(model._engine, "step", counted)
    found = lm.generate_until([asked("generate_until", *pair) for pair in pairs[:4]], disable_tqdm=True)
    assert found == [text.split(pairs[n][1]["until"][0])[0].split(text[4:6])[0] for n, text in enumerate(free)]
    assert 0 < steps[0] <= 4 * 5
    assert lm.generate_until([asked("generate_until", *pair) for pair in pairs[4:]], disable_tqdm=True) == free


def test_draws_are_focus_model_s_and_end_at_the_end_token() -> None:
    model = speaking_model()
    drawing: dict[str, Any] = {"do_sample": True, "temperature": 3.0}
    torch.manual_seed(3)
    drawn = continued(model, "so it begins", **drawing)
    assert drawn != continued(model, "so it begins")
    torch.manual_seed(3)
    request = asked("generate_until", "so it begins", {**drawing, "max_gen_toks": 10, "until": []})
    assert FocusLM(model).generate_until([request], disable_tqdm=True) == [drawn]
    model.base.generation_config.eos_token_id = model.encode(drawn[5])
    torch.manual_seed(3)
    assert FocusLM(model).generate_until([request], disable_tqdm=True) == [drawn[: drawn.index(drawn[5])]]
