"""What FocusModel refuses and keeps."""

from copy import deepcopy
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertGenerationConfig, BertGenerationDecoder
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from focusllm import FocusConfig, FocusModel
from focusllm.condensing.bases import check_tokenizer
from focusllm.condensing.family_table import FAMILIES, REFUSED
from focusllm.errors import AdapterError, ConfigurationError, FocusError, InputError, StateError, UnsupportedModelError
from tiny import SMALL, disturb, random_ids, save_tiny_base, tiny_base, tiny_model

TINY_ENCODER = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "is_decoder": True,
}  # fmt: skip


def test_an_unsupported_architecture_is_named_with_those_supported() -> None:
    base = BertGenerationDecoder(BertGenerationConfig(**TINY_ENCODER))
    base.config.model_type = "unheard_of"
    with pytest.raises(UnsupportedModelError, match=r"'unheard_of' is not supported.*llama, .*mistral"):
        FocusModel(base, SMALL)


def test_an_architecture_that_cannot_work_is_refused_with_the_reason() -> None:
    base = BertGenerationDecoder(BertGenerationConfig(**TINY_ENCODER))
    with pytest.raises(UnsupportedModelError, match="an encoder, whose tokens see those behind them"):
        FocusModel(base, SMALL)
    assert not set(REFUSED) & set(FAMILIES)
    assert set(REFUSED) <= set(CONFIG_MAPPING)
    with pytest.raises(UnsupportedModelError, match="has ALiBi positions"):
        tiny_model("falcon", alibi=True)


def test_the_window_of_longrope_ends_where_its_angles_change() -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **factors}
    model = tiny_model("phi3", original_max_position_embeddings=24, rope_parameters=rope)
    assert (model.base.config.max_position_embeddings, model.window) == (64, 24)
    ids = torch.tensor([list(range(3, 33))])
    angles = model.base.model.rotary_emb.inv_freq.clone()
    model(ids)
    assert model.base.model.rotary_emb.inv_freq.equal(angles)
    # What the window keeps from happening:
    with model.disabled() as base:
        base(ids)
    assert not base.model.rotary_emb.inv_freq.equal(angles)


def test_attaching_twice_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(ConfigurationError, match="detach them first"):
        FocusModel(model.base, SMALL)
    FocusModel(model.detach(), SMALL)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"config": {"chunk_size": 5}}, r"Unknown settings \['chunk_size'\]"),
        ({"max_parallel_chunks": 0}, "`max_parallel_chunks` must be a whole number of at least 1; got 0"),
        ({"config": {"static_prompt": [500], "candidate_refresh": 0}}, "Token 500 is not in the base's vocabulary"),
    ],
)
def test_a_base_is_not_kept_by_a_model_that_was_refused(given: dict[str, Any], words: str) -> None:
    base = tiny_base()
    layers = list(map(type, base.modules()))
    with pytest.raises(ValueError, match=words) as caught:
        FocusModel(base, **given)
    assert isinstance(caught.value, FocusError)
    assert list(map(type, base.modules())) == layers
    assert FocusModel(base, SMALL).window == 64


def test_settings_may_be_given_by_name() -> None:
    assert FocusModel(tiny_base(), {"chunk_length": 7}).config == FocusConfig(chunk_length=7)
    for slip in (5, "adapter", tiny_base().config):
        with pytest.raises(ConfigurationError, match=r"Settings are given by name in FocusConfig.*; got"):
            FocusConfig().changed(slip)


def test_a_tokenizer_s_name_is_no_tokenizer() -> None:
    with pytest.raises(ConfigurationError, match=r"`tokenizer` must be one of transformers'.*got 'a/b' \(str\)"):
        check_tokenizer("a/b")


def test_a_tokenizer_cannot_be_put_in_where_nothing_would_use_it() -> None:
    with pytest.raises(AttributeError, match="no setter"):
        tiny_model().tokenizer = None  # type: ignore[misc]


def test_what_is_printed_says_what_it_is_and_no_more() -> None:
    model, ids = tiny_model(), torch.tensor([random_ids(90), random_ids(90)])
    assert f"window=64, config={SMALL}" in repr(model)
    assert "(q_proj): CandidateProjection(\n              full\n" in repr(model)
    assert "              rank=3\n" in repr(tiny_model(config=SMALL.changed({"rank": 3})))
    assert repr(model.adapter) == "CandidateAdapter(10,240 parameters, attached)"
    assert repr(model.prefill(ids)) == "FocusState(batch_size=2, num_chunks=[7, 7])"
    model.detach()
    assert repr(model.adapter).endswith("detached)")


def test_how_much_is_trained_is_said_as_by_peft(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model()
    own, total = model.adapter.num_parameters, sum(parameter.numel() for parameter in model.parameters())
    # The attached candidate projections stand among the base's modules, and count once.
    assert model.get_nb_trainable_parameters() == (own, total)
    assert own == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    model.print_trainable_parameters()
    share = f"{100 * own / total:.4f}"
    assert capsys.readouterr().out == f"trainable params: 10,240 || all params: {total:,} || trainable%: {share}\n"
    model.detach()
    assert model.get_nb_trainable_parameters() == (own, total)


def test_precision_and_device_are_the_base_s() -> None:
    model = tiny_model(dtype=torch.float32).to(torch.bfloat16)
    assert (model.dtype, model.device) == (torch.bfloat16, torch.device("cpu"))
    assert model.prefill(torch.tensor([random_ids(90)])).logits.dtype == model.dtype


def test_without_its_candidate_projections_a_model_does_not_pretend_to_read_chunks() -> None:
    model, ids = tiny_model(), torch.tensor([random_ids(90)])
    wanted = model(ids).logits
    with model.disabled(), pytest.raises(StateError, match="taken out of the base"):
        model(ids)
    model.detach()
    with pytest.raises(StateError, match="taken out of the base"):
        model(ids)
    assert model(ids[:, :20]).logits.isfinite().all()
    model.adapter.attach()
    assert torch.equal(model(ids).logits, wanted)


def test_a_copy_is_a_model_of_its_own() -> None:
    model, ids = tiny_model("gpt2"), torch.tensor([random_ids(90)])
    copy, wanted = deepcopy(model), model(ids).logits
    assert torch.equal(copy(ids).logits, wanted)
    disturb(copy)
    assert not torch.allclose(copy(ids).logits, wanted)
    assert torch.equal(model(ids).logits, wanted)


def test_others_wait_while_the_candidate_projections_are_taken_out() -> None:
    model, ids, answers = tiny_model(), torch.tensor([random_ids(90)]), []
    wanted = model(ids).logits
    reader = Thread(target=lambda: answers.append(model(ids).logits))
    with model.disabled() as base:
        reader.start()
        reader.join(timeout=0.2)
        assert not answers
        base(ids[:, :20])
    reader.join()
    assert torch.equal(answers[0], wanted)


def test_settings_of_the_adapter_cannot_be_changed_afterwards() -> None:
    with pytest.raises(InputError, match="Token 900 is not in the base's vocabulary"):
        tiny_model().configure(static_prompt=(5, 900), candidate_refresh=0)
    with pytest.raises(ConfigurationError, match="`rank` belongs to the adapter"):
        tiny_model().configure(rank=4)
    assert tiny_model().configure(chunk_length=7).config.chunk_length == 7


def test_tokens_that_a_base_is_given_later_are_known() -> None:
    model = tiny_model()
    new = model.base.get_input_embeddings().num_embeddings
    ids = torch.tensor([[*random_ids(90), new]])
    with pytest.raises(InputError, match=f"Token {new} is not in the base's vocabulary"):
        model(ids)
    model.base.resize_token_embeddings(new + 3)
    assert model(ids).logits.shape == (1, 1, new + 3)
    model.base.resize_token_embeddings(new)
    with pytest.raises(InputError, match=f"Token {new} is not in the base's vocabulary"):
        model(ids)


@pytest.fixture
def adapters(tmp_path: Path) -> list[Path]:
    """Two for one base, with settings of their own."""
    for name, chunk_length, scale in (("one", 9, 0.1), ("two", 14, 0.2)):
        model = FocusModel(tiny_base(), SMALL.changed({"chunk_length": chunk_length})).eval()
        disturb(model, scale)
        model.save_adapter(tmp_path / name)
    return [tmp_path / "one", tmp_path / "two"]


def test_a_base_that_is_loaded_already_is_taken_as_it_is(adapters: list[Path], tmp_path: Path) -> None:
    ids, base = torch.tensor([random_ids(90)]), tiny_base()
    base.save_pretrained(tmp_path / "base")
    save_tiny_base(tmp_path / "with-a-tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "with-a-tokenizer")
    model = FocusModel.from_pretrained(base, adapters[0], tokenizer=tokenizer)
    assert model.base is base
    assert model.tokenizer is tokenizer
    assert model.config.chunk_length == 9
    by_name = FocusModel.from_pretrained(tmp_path / "base", adapters[0], tokenizer=tokenizer, device="cpu")
    assert by_name.tokenizer is tokenizer
    assert torch.equal(model(ids).logits, by_name(ids).logits)


def test_how_to_load_a_base_that_is_loaded_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="so `dtype`, `attn_implementation` would change nothing: load it"):
        FocusModel.from_pretrained(tiny_base(), config=SMALL, dtype="float32", attn_implementation="eager")


def test_a_loaded_base_is_not_kept_by_an_adapter_that_is_another_s(adapters: list[Path]) -> None:
    base = tiny_base("qwen3")
    layers = list(map(type, base.modules()))
    with pytest.raises(AdapterError, match="trained on another base"):
        FocusModel.from_pretrained(base, adapters[0])
    assert list(map(type, base.modules())) == layers


def test_adapters_of_one_base_take_turns_on_the_same_documents(adapters: list[Path]) -> None:
    ids, base, models = torch.tensor([random_ids(90)]), tiny_base(), []
    alone = [FocusModel.from_pretrained(tiny_base(), adapter)(ids).logits for adapter in adapters]
    for adapter in adapters:
        models.append(FocusModel.from_pretrained(base, adapter))
        models[-1].detach()
    document = None
    for _ in range(2):
        for model, wanted in zip(models, alone, strict=True):
            model.adapter.attach()
            assert torch.equal(model(ids).logits, wanted)
            # What one has read the other need not read.
            document = model.index(document or random_ids(90))
            model.detach()
    assert not torch.equal(*alone)


def test_a_base_that_is_not_there_is_one_sentence(tmp_path: object) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        FocusModel.from_pretrained(f"{tmp_path}/nothing")


def test_the_base_is_frozen_and_the_adapter_is_not() -> None:
    base = tiny_base()
    model = FocusModel(base, SMALL)
    trained = {id(parameter) for parameter in model.adapter.parameters().values()}
    assert all(parameter.requires_grad == (id(parameter) in trained) for parameter in model.parameters())


def test_sliding_windows_do_not_limit_the_window() -> None:
    assert tiny_model("mistral", sliding_window=32).window == 64
    assert tiny_model("mistral").window == 64


def test_low_rank_is_much_smaller() -> None:
    full = sum(p.numel() for p in tiny_model().adapter.parameters().values())
    from dataclasses import replace

    low = sum(p.numel() for p in tiny_model(config=replace(SMALL, rank=1)).adapter.parameters().values())
    assert low * 10 < full
    assert torch.is_tensor(tiny_model().base.lm_head.weight)


def test_a_base_without_a_trained_adapter_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    ids = torch.tensor([random_ids(80)])
    tiny_model().prefill(ids)
    assert not caplog.text
    for rank in (None, 4):
        fresh = FocusModel(tiny_base(), SMALL.changed({"rank": rank})).eval()
        fresh(ids[:, :20])
        assert not caplog.text
        fresh.prefill(ids)
        fresh.prefill(ids)
        assert caplog.text.count("no trained adapter") == 1
        caplog.clear()
