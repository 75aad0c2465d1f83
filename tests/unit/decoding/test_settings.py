"""Settings of generation: what they mean within the window is what they mean to transformers."""

import logging
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from focusllm import FocusModel
from focusllm.decoding.settings import generation_config_for
from focusllm.errors import ConfigurationError
from tiny import SMALL, disturb, random_ids, tiny_base, tiny_model

IDS = torch.tensor([random_ids(40), random_ids(40, seed=1)])


def base_with(**own: Any) -> Any:
    """A base with a generation configuration of its own, and no special tokens besides."""
    base: Any = tiny_base("qwen2", torch.float32, pad_token_id=None, eos_token_id=None, bos_token_id=None)
    base.generation_config = GenerationConfig(**own)
    return base


def an_end() -> int:
    """A token that ends the first sequence early and the second one not at all."""
    free = base_with().generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=8, do_sample=False)
    return next(token for token in free[0, 40:-1].tolist() if token not in free[1, 40:].tolist())


DRAWS = {"do_sample": True, "top_k": 3, "temperature": 0.7, "repetition_penalty": 1.5}


@pytest.mark.filterwarnings("ignore:Setting `pad_token_id`")
@pytest.mark.parametrize(
    ("own", "given", "settings"),
    [
        (DRAWS, None, {}),
        (DRAWS, None, {"top_k": None}),
        (DRAWS, None, {"do_sample": False, "repetition_penalty": None}),
        (DRAWS, {}, {}),
        (DRAWS, {"do_sample": False}, {}),
        ({"suppress_tokens": list(range(40))}, None, {"suppress_tokens": None}),
        ({"eos_token_id": "end"}, None, {"eos_token_id": None}),
        ({"eos_token_id": "end"}, None, {"min_new_tokens": 6}),
        ({"eos_token_id": "end", "max_length": 50}, {}, {}),
        ({"temperature": 0.6, "top_p": 0.9}, None, {}),
    ],
)
def test_what_a_base_sets_can_be_replaced_turned_off_or_left(
    own: dict[str, Any], given: dict[str, Any] | None, settings: dict[str, Any]
) -> None:
    own = {name: an_end() if value == "end" else value for name, value in own.items()}
    # Transformers wants one or the other.
    asked = {"max_new_tokens": 8, **settings} if given is None else {}
    config = None if given is None else GenerationConfig(max_new_tokens=8, **given)
    base = base_with(**own)
    torch.manual_seed(5)
    wanted = base.generate(IDS, attention_mask=torch.ones_like(IDS), generation_config=config, **asked)
    model = FocusModel(base_with(**own), SMALL).eval()
    assert torch.equal(model.generate(IDS, generation_config=config, seed=5, **asked), wanted)  # type: ignore[arg-type]


def test_a_sequence_that_ends_early_is_padded_with_the_end_of_the_base() -> None:
    end = an_end()
    model = FocusModel(base_with(eos_token_id=[end, 96]), SMALL).eval()
    found: Any = model.generate(IDS, generation_config=GenerationConfig(max_new_tokens=8))
    assert set(found[0, 40:].tolist()[-2:]) == {end}


def test_transformers_warns_of_nothing_that_is_right(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.WARNING)
    model = FocusModel(base_with(eos_token_id=96, max_length=50), SMALL).eval()
    disturb(model)
    ids, mask = torch.tensor([random_ids(90), [*random_ids(80), *[0] * 10]]), torch.ones(2, 90, dtype=torch.int64)
    mask[1, 80:] = 0
    model.generate(ids, mask, max_new_tokens=3, min_new_tokens=2)
    assert not caplog.records
    assert model.base.config.max_position_embeddings == model.window == 64


@pytest.mark.parametrize("tokens", ["5", 2.5, True, [3]])
def test_a_number_of_tokens_is_a_whole_number(tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match="`max_new_tokens` must be a whole number of tokens; got"):
        tiny_model().generate(IDS, max_new_tokens=tokens)


def test_a_base_that_says_it_has_no_padding_by_a_negative_token_can_be_used() -> None:
    """As the first Llamas; who gives one of that kind has made a mistake."""
    base = base_with(pad_token_id=-1, eos_token_id=[5, 6])
    base.config.pad_token_id = -1
    model = FocusModel(base, SMALL).eval()
    for given in (None, GenerationConfig(num_beams=2)):
        assert model.generate(IDS, generation_config=given, max_new_tokens=2).shape == (2, 42)  # type: ignore[union-attr]
    assert generation_config_for(base, None, {}, -1).pad_token_id == 5
    with pytest.raises(ConfigurationError, match="pad_token_id"):
        model.generate(IDS, pad_token_id=-1)


def test_a_temperature_is_checked_before_anything_is_read_and_may_be_a_whole_number() -> None:
    base = tiny_base(dtype=torch.float32)
    with pytest.raises(ConfigurationError, match="`temperature` must be above 0; got 0"):
        generation_config_for(base, None, {"do_sample": True, "temperature": 0}, 0)
    found = generation_config_for(base, None, {"do_sample": True, "temperature": 2}, 0).temperature
    assert (found, type(found)) == (2.0, float)
