"""Loading bases with and without tokenizers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import is_flash_attn_2_available

from focusllm import FocusModel
from focusllm.condensing import bases
from focusllm.condensing.bases import load_base
from focusllm.errors import ConfigurationError, InputError, MissingDependencyError, UnsupportedModelError
from tiny import SMALL, random_ids, save_tiny_base, tiny_base, tiny_model

DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: (folder / "tokenizer.json").write_text('{"version": '),
    "a list": lambda folder: (folder / "tokenizer.json").write_text("[]"),
    "empty": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "gone": lambda folder: (folder / "tokenizer.json").unlink(),
    "settings cut": lambda folder: (folder / "tokenizer_config.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tokenizer_is_not_taken_for_none(damage: Callable[[Path], object], tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    assert load_base(str(tmp_path), "auto")[1] is not None
    damage(tmp_path)
    with pytest.raises(InputError, match=r"The tokenizer of the base model .* cannot be loaded"):
        load_base(str(tmp_path), "auto")


def test_a_base_without_a_tokenizer_reads_token_ids(tmp_path: Path) -> None:
    tiny_base().save_pretrained(tmp_path)
    model = FocusModel.from_pretrained(tmp_path, config=SMALL, device="cpu")
    assert model.tokenizer is None
    assert model(torch.tensor([random_ids(80)])).logits.isfinite().all()


PRECISIONS: dict[str, tuple[str, bool, int, torch.dtype]] = {
    "emulated": ("auto", True, 10**12, torch.float32),
    "with arithmetic": ("auto", False, 10**12, torch.bfloat16),
    "as asked for": ("bfloat16", True, 10**12, torch.bfloat16),
    "no room": ("auto", True, 10**5, torch.bfloat16),
}


@pytest.mark.parametrize(("dtype", "emulated", "free", "expected"), PRECISIONS.values(), ids=PRECISIONS)
def test_a_precision_the_cpu_only_emulates_is_left_to_those_who_ask_for_it(
    dtype: str, emulated: bool, free: int, expected: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(bases, "is_emulated", lambda kind, _: emulated and kind == torch.bfloat16)
    monkeypatch.setattr(bases, "free_bytes", lambda _: free)
    save_tiny_base(tmp_path, torch.bfloat16)
    base, _ = load_base(str(tmp_path), dtype)
    assert {parameter.dtype for parameter in base.parameters()} == {expected}
    assert ("has no arithmetic for bfloat16" in caplog.text) == (dtype == "auto" and emulated)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int8", "nn", "five", torch.uint8])
def test_what_no_model_computes_in_is_refused(dtype: str | torch.dtype, tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    with pytest.raises(ConfigurationError, match=r"`dtype` must be 'auto', .*; got '.*'\. For fewer bits"):
        load_base(str(tmp_path), dtype)


def test_what_says_no_way_to_quantize_is_refused(tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    with pytest.raises(ConfigurationError, match=r"such as BitsAndBytesConfig, or its fields by name; got '4bit'\."):
        load_base(str(tmp_path), "auto", quantization="4bit")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_computed_as_asked_for(attention: str, tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    model = FocusModel.from_pretrained(tmp_path, config=SMALL, attn_implementation=attention, device="cpu")
    assert model.base.config._attn_implementation == attention
    assert model(torch.tensor([random_ids(80)])).logits.isfinite().all()


@pytest.mark.parametrize("attention", ["flash", "", "paged|eager", "focus_grouped", "owner/kernel"])
def test_what_is_no_attention_for_a_base_is_refused_before_it_is_loaded(attention: str, tmp_path: Path) -> None:
    """Kernels on the Hub are code, and paged attention reads what only continuous batching prepares."""
    with pytest.raises(ConfigurationError, match=r"`attn_implementation` must be .*: 'eager', .*'sdpa'.*; got"):
        FocusModel.from_pretrained(tmp_path / "nowhere", attn_implementation=attention)


def test_attention_that_an_architecture_has_not_is_one_sentence(tmp_path: Path) -> None:
    tiny_base("bloom").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be loaded: BloomForCausalLM does not support an attention impl"):
        load_base(str(tmp_path), "auto", attention="sdpa")


@pytest.mark.skipif(is_flash_attn_2_available(), reason="the library is installed")
def test_attention_by_a_library_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    save_tiny_base(tmp_path)
    with pytest.raises(MissingDependencyError, match="FlashAttention2 has been toggled on, but it cannot be used"):
        load_base(str(tmp_path), "auto", attention="flash_attention_2")


@pytest.mark.parametrize("token", [97, -1])
def test_a_bos_token_that_the_base_has_not_is_none(token: int, caplog: pytest.LogCaptureFixture) -> None:
    """GPT-2's configuration names 50256 whatever the size of the vocabulary."""
    without, ids = tiny_model("gpt2", bos_token_id=None), torch.tensor([random_ids(90)])
    assert not caplog.text
    named = tiny_model("gpt2", bos_token_id=token)
    assert torch.equal(named(ids).logits, without(ids).logits)
    assert f"The BOS token, {token}, is none of the base's 97 tokens" in caplog.text


def changed(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without(folder: Path, name: str) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda base: changed(base, num_hidden_layers=4), r"layers\.3\.\S+ is missing; .* Fetch its files again"),
        (lambda base: without(base, "model.layers.1.mlp.up_proj.weight"), r"mlp\.up_proj\.weight is missing\."),
        (lambda base: changed(base, vocab_size=300), r"lm_head\.weight has shape \(259, 32\), needed is \(300, 32\)"),
        (lambda base: changed(base, hidden_size="wide"), r"cannot be loaded: Validation error for field 'hidden_size'"),
        (lambda base: changed(base, rope_parameters={"rope_type": "new", "rope_theta": 1.0}), "names 'new', which"),
        (lambda base: (base / "adapter_config.json").write_text("{}"), "holds an adapter beside the base"),
    ],
)
def test_a_base_that_is_not_whole_is_not_completed_with_random_numbers(
    damage: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    save_tiny_base(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=words):
        load_base(str(tmp_path), "auto")


def test_an_adapter_in_the_place_of_a_base_is_pointed_out(tmp_path: Path) -> None:
    """As `AutoPeftModel` would take it."""
    tiny_model().save_adapter(tmp_path)
    with pytest.raises(InputError, match=r"is an adapter, and no base: give it as one \(`adapter=`, --adapter\)"):
        FocusModel.from_pretrained(tmp_path)


def test_code_that_comes_with_a_base_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anybody have to be asked, as transformers would."""
    save_tiny_base(tmp_path)
    changed(tmp_path, model_type="their_own", auto_map={"AutoConfig": "theirs.Config"})
    (tmp_path / "theirs.py").write_text(
        f"open({str(tmp_path / 'run')!r}, 'w')\nfrom transformers import LlamaConfig as Config\n"
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(UnsupportedModelError, match="needs code of its own, which FocusLLM never runs"):
        load_base(str(tmp_path), "auto")
    assert not (tmp_path / "run").exists()
