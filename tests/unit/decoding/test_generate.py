"""The generate loop: choosing, stopping, streaming."""

import pytest
import torch

from focusllm import FocusModel
from focusllm.errors import ConfigurationError, InputError
from tiny import SMALL, random_ids, tiny_base, tiny_model

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
    stopped = model.generate(ids, max_new_tokens=8, eos_token_ids=(stop,))[:, 90:]
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
        ({"do_sample": True, "temperature": 0.0}, "temperature"),
        ({"do_sample": True, "top_p": 2.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"num_beams": 2}, "num_beams.*Accepted are"),
        ({"stop_strings": ("x",)}, "need a tokenizer"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        tiny_model().generate(IDS, **{"max_new_tokens": 3, **settings})


def test_progress_counts_every_chunk_token_once() -> None:
    seen: list[tuple[int, int]] = []
    tiny_model().generate(IDS, max_new_tokens=1, progress=lambda read, total: seen.append((read, total)))
    assert seen[-1] == (80, 80)
    assert [read for read, _ in seen] == sorted({read for read, _ in seen})


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shape of `input_ids`"):
        tiny_model()(IDS, torch.ones(1, 5, dtype=torch.long))


def test_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a tokenizer"):
        tiny_model().ask("some text", "what?")


def test_a_model_without_bos_inserts_none() -> None:
    with_bos, without = tiny_base(), tiny_base(bos_token_id=None)
    scores = [FocusModel(base, SMALL).eval()(IDS).logits for base in (with_bos, without)]
    assert not torch.allclose(*scores)
    assert torch.allclose(scores[1], FocusModel(tiny_base(), SMALL).configure(insert_bos=False).eval()(IDS).logits)
