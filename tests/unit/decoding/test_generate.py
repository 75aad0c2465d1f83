"""The generate loop: choosing, stopping, streaming."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from focusllm import FocusModel
from focusllm.errors import ConfigurationError, InputError
from tiny import SMALL, random_ids, tiny_base, tiny_model, tiny_tokenizer

IDS = torch.tensor([random_ids(90)])


def by_hand(model: FocusModel, steps: int) -> list[int]:
    state = model.prefill(IDS)
    chosen = []
    for _ in range(steps):
        token = state.logits.argmax(-1)
        chosen.append(token.item())
        state = model.step(state, token)
    return chosen  # type: ignore[return-value]


@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
def test_greedy_takes_the_likeliest_token_of_every_step(local_refresh: str) -> None:
    model = tiny_model().configure(local_refresh=local_refresh)
    assert model.generate(IDS, max_new_tokens=6)[0, 90:].tolist() == by_hand(model, 6)


def test_sampling_is_repeated_by_its_seed_and_follows_the_distribution() -> None:
    model = tiny_model()
    draws = [model.generate(IDS, max_new_tokens=5, do_sample=True, seed=seed)[0, 90:].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    certain = model.generate(IDS, max_new_tokens=5, do_sample=True, top_k=1, seed=3)[0, 90:].tolist()
    assert certain == by_hand(model, 5)
    probabilities = model.prefill(IDS).logits[0].softmax(-1)
    firsts = [
        model.generate(IDS, max_new_tokens=1, do_sample=True, seed=seed, temperature=1.0)[0, 90].item()
        for seed in range(120)
    ]
    top = probabilities.argmax().item()
    expected = probabilities[top].item()
    spread = 4 * (expected * (1 - expected) / len(firsts)) ** 0.5
    assert abs(firsts.count(top) / len(firsts) - expected) <= spread + 1 / len(firsts)


def test_a_stop_token_ends_a_sequence_and_others_go_on() -> None:
    model = tiny_model()
    ids = torch.tensor([random_ids(90), random_ids(90, seed=1)])
    free = model.generate(ids, max_new_tokens=8)[:, 90:]
    stop = next(token for token in free[0].tolist() if token not in free[1].tolist())
    stopped = model.generate(ids, max_new_tokens=8, eos_token_id=stop)[:, 90:]
    end = free[0].tolist().index(stop) + 1
    assert stopped[0, :end].tolist() == free[0, :end].tolist()
    assert set(stopped[0, end:].tolist()) <= {0}
    assert stopped[1].tolist() == free[1].tolist()


def test_the_streamer_is_handed_the_prompt_and_then_every_token() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.tokens: list[int] = []
            self.has_ended = False

        def put(self, value: torch.Tensor) -> None:
            self.tokens += value.flatten().tolist()

        def end(self) -> None:
            self.has_ended = True

    recorder = Recorder()
    output = tiny_model().generate(IDS, max_new_tokens=4, streamer=recorder)
    assert recorder.tokens == output[0].tolist()
    assert recorder.has_ended


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.5}, "do_sample=True"),
        ({"do_sample": True, "temperature": 0.0}, "`temperature` must be above 0"),
        ({"do_sample": True, "temperature": float("nan")}, "`temperature` must be above 0"),
        ({"do_sample": True, "top_p": 2.0}, "`top_p` must be"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"prompt_lookup_num_tokens": 2}, "use greedy decoding"),
        ({"temprature": 2}, "'temprature' is not a setting of generation. Accepted are"),
        ({"stop_strings": ("x",)}, "tokenizer"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        tiny_model().generate(IDS, **{"max_new_tokens": 3, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True, "temperature": 0.7, "top_p": 0.9},
        {"do_sample": True, "top_k": 5, "num_return_sequences": 3},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 1, "min_new_tokens": 6},
        {"suppress_tokens": list(range(40))},
    ],
)
def test_within_the_window_settings_mean_what_they_mean_to_transformers(settings: dict[str, Any]) -> None:
    ids = torch.tensor([random_ids(40), random_ids(40, seed=1)])
    base = tiny_base("qwen2", torch.float32)
    torch.manual_seed(5)
    wanted = base.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, **settings)
    model = tiny_model("qwen2", dtype=torch.float32)
    state = torch.get_rng_state()
    found = model.generate(ids, max_new_tokens=8, seed=5, **settings)
    assert torch.equal(found, wanted)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:Setting `pad_token_id`")
def test_without_a_padding_token_outputs_are_padded_as_transformers_pads_them() -> None:
    ids = torch.tensor([random_ids(40), random_ids(40, seed=1)])
    base = tiny_base("qwen2", torch.float32, pad_token_id=None)
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    free = base.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=None, **options)[:, 40:].tolist()
    options["eos_token_id"] = next(token for token in free[0][:-1] if token not in free[1])
    wanted = base.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(tiny_model("qwen2", dtype=torch.float32, pad_token_id=None).generate(ids, **options), wanted)


def test_scores_processors_and_criteria_work_beyond_the_window() -> None:
    model = tiny_model()
    seen: list[tuple[int, ...]] = []

    def only_seven(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(input_ids.shape))
        return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([7]), 0.0)

    def after_two(input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= 92)

    output = model.generate(
        IDS, max_new_tokens=5, logits_processor=LogitsProcessorList([only_seven]), return_dict_in_generate=True,
        stopping_criteria=StoppingCriteriaList([after_two]), output_logits=True,
    )  # fmt: skip
    assert output.sequences[0].tolist() == [*IDS[0].tolist(), 7, 7]  # type: ignore[union-attr]
    assert seen == [(1, 90), (1, 91)]
    assert torch.equal(output.logits[0], model.prefill(IDS).logits.float())  # type: ignore[union-attr,index]


def test_progress_counts_every_chunk_token_once() -> None:
    seen: list[tuple[int, int]] = []
    tiny_model().generate(IDS, max_new_tokens=1, progress=lambda read, total: seen.append((read, total)))
    assert seen[-1] == (80, 80)
    assert [read for read, _ in seen] == sorted({read for read, _ in seen})


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shape of `input_ids`"):
        tiny_model()(IDS, torch.ones(1, 5, dtype=torch.long))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 95}, r"`max_length` \(95\) .* give `max_new_tokens`"),
        ({"generation_config": GenerationConfig(max_length=95)}, "give `max_new_tokens`"),
        ({"num_beams": 0}, "`num_beams` must be at least 1; got 0"),
        ({"guidance_scale": 1.5}, "`guidance_scale` is not supported; got 1.5"),
        ({"token_healing": True}, "`token_healing` is not supported"),
        ({"output_attentions": True, "return_dict_in_generate": True}, "`output_attentions` is not supported"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        tiny_model().generate(IDS, **settings)


def test_extras_that_are_none_are_none_at_all() -> None:
    model = tiny_model()
    nothing: dict[str, Any] = {"streamer": None, "logits_processor": None, "stopping_criteria": None}
    found = model.generate(IDS, max_new_tokens=3, **nothing)
    assert torch.equal(found, model.generate(IDS, max_new_tokens=3))  # type: ignore[arg-type]


def test_one_stop_string_is_a_string_and_not_its_letters() -> None:
    model = FocusModel(tiny_base(vocab_size=259), SMALL, tiny_tokenizer()).eval()
    free = model.tokenizer.decode(model.generate(IDS, max_new_tokens=6)[0, 90:])  # type: ignore[union-attr,index]
    stop = free[1:3] if free[0] not in free[1:3] else free[2:4]
    one, listed = (model.generate(IDS, max_new_tokens=6, stop_strings=given) for given in (stop, [stop]))
    assert torch.equal(one, listed)  # type: ignore[arg-type]
    assert one.shape[1] > 91  # type: ignore[union-attr]


def test_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a tokenizer"):
        tiny_model().ask("some text", "what?")


def test_a_model_without_bos_inserts_none() -> None:
    with_bos, without = tiny_base(), tiny_base(bos_token_id=None)
    scores = [FocusModel(base, SMALL).eval()(IDS).logits for base in (with_bos, without)]
    assert not torch.allclose(*scores)
    assert torch.allclose(scores[1], FocusModel(tiny_base(), SMALL).configure(insert_bos=False).eval()(IDS).logits)


def beam_search_by_hand(model: FocusModel, ids: list[int], num_beams: int, steps: int) -> tuple[list[int], float]:
    """Search beams the slow way: every hypothesis is decoded from the start. Return the best and its score."""

    def scores_after(tokens: list[int]) -> torch.Tensor:
        state = model.prefill(torch.tensor([ids]))
        for token in tokens:
            state = model.step(state, torch.tensor([token]))
        return state.logits[0].float().log_softmax(-1)

    beams: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(steps):
        longer = []
        for tokens, score in beams:
            best = scores_after(tokens).topk(num_beams)
            values = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            longer += [([*tokens, token], score + value) for token, value in values]
        beams = sorted(longer, key=lambda beam: -beam[1])[:num_beams]
    return beams[0][0], beams[0][1] / steps


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"local_refresh": "cached", "candidate_refresh": 2},
        {"local_refresh": "cached", "candidate_refresh": 0, "focus_share": 0.7},
    ],
)
def test_beams_find_what_decoding_every_hypothesis_from_the_start_finds(changes: dict[str, Any]) -> None:
    model = tiny_model("llama", replace(SMALL, **changes))
    rows = [random_ids(90), random_ids(75, seed=1)]
    ids = torch.tensor([rows[0], [0] * 15 + rows[1]])
    mask = torch.tensor([[1] * 90, [0] * 15 + [1] * 75])
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 5, "eos_token_id": None}
    output = model.generate(ids, mask, return_dict_in_generate=True, output_scores=True, **options)
    for index, row in enumerate(rows):
        tokens, score = beam_search_by_hand(model, row, 3, 5)
        assert output.sequences[index, 90:].tolist() == tokens
        assert output.sequences_scores[index].item() == pytest.approx(score, abs=1e-5)
    # Beams change places here; a test that never sees that shows nothing.
    assert any(len(set(row.tolist())) > 1 for row in output.beam_indices)
