"""The model that lm-evaluation-harness asks: texts into tokens, names, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from focusllm import FocusModel
from focusllm.errors import ConfigurationError, WindowError
from tiny import BOS, SMALL, random_ids, save_tiny_base, tiny_base, tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.api.registry import get_model

from focusllm.evaluation.harness import FocusLM

TEMPLATE = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('none') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"  # noqa: E501


def text_model() -> FocusModel:
    base: Any = tiny_base(vocab_size=259)
    return FocusModel(base, SMALL, tiny_tokenizer()).eval()


def test_it_is_made_from_what_is_typed_behind_model_args(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    typed = f"base={base},chunk_length=100,local_refresh=cached,dtype=float64,stride=16,add_bos_token=true"
    lm = get_model("focusllm").create_from_arg_string(typed, {"batch_size": "4", "max_batch_size": 8, "device": "cpu"})
    assert isinstance(lm, FocusLM)
    assert (lm._model.config.chunk_length, lm._model.config.local_refresh) == (100, "cached")
    assert next(lm._model.base.parameters()).dtype == torch.float64
    assert (lm.batch_size, lm.max_gen_toks, lm.prefix_token_id, lm.eot_token_id) == (4, 256, BOS, 2)
    assert lm.tokenizer_name == str(base).replace("/", "__")
    assert lm.max_length > 10**12
    said = json.loads(json.dumps(lm.get_model_info()))
    assert said["focusllm_config"]["chunk_length"] == 100
    assert said["model_dtype"] == "torch.float64"
    assert FocusLM(pretrained=str(base), batch_size="auto", device="cpu").batch_size == 1


def test_texts_begin_with_bos_as_told_and_never_twice() -> None:
    model = text_model()
    plain = model.encode("ab c")
    assert FocusLM(model).tok_encode("ab c") == plain
    assert FocusLM(model, add_bos_token=True).tok_encode("ab c") == [BOS, *plain]
    assert FocusLM(model, add_bos_token=True).tok_encode("<s>ab c") == [BOS, *plain]
    assert FocusLM(model, add_bos_token=True).tok_encode("ab c", add_special_tokens=False) == plain
    long = "a" * 10**5
    assert len(FocusLM(model).tok_encode(long)) == 10**5


def test_empty_contexts_and_empty_continuations_are_scored() -> None:
    lm = FocusLM(text_model())
    pairs = [("", "ab"), ("  ", "ab"), ("ab", ""), ("ab ", "c")]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    found = lm.loglikelihood(requests, disable_tqdm=True)
    # Spaces of a context that is nothing else belong to the continuation; so do those at a context's end.
    moved = [Instance("loglikelihood", {}, pair, 0) for pair in [("", "ab"), ("", "  ab"), ("ab", " c")]]
    again = lm.loglikelihood(moved, disable_tqdm=True)
    assert [total for total, _ in (found[0], found[1], found[3])] == pytest.approx([total for total, _ in again])
    assert found[2] == (0.0, True)
    assert lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("",), 0)], disable_tqdm=True) == [0.0]


def test_every_answer_is_handed_to_the_harness_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = FocusLM(text_model())
    cached = CachingLM(lm, str(tmp_path / "answers.db"))
    handed: list[tuple[str, Any, Any]] = []
    monkeypatch.setattr(lm.cache_hook, "add_partial", lambda *given: handed.append(given))
    asked = {
        "loglikelihood": ("a context", " and more"),
        "loglikelihood_rolling": ("a text",),
        "generate_until": ("a context", {"max_gen_toks": 2, "until": []}),
    }
    requests = {kind: [Instance(kind, {}, given, 0)] for kind, given in asked.items()}  # type: ignore[arg-type]
    found = {kind: getattr(cached, kind)(requests[kind])[0] for kind in asked}
    # As soon as it is there, for runs that are cut short.
    assert handed == [(kind, asked[kind], found[kind]) for kind in asked]
    # What was kept needs no model.
    monkeypatch.setattr(lm, "_model", None)
    monkeypatch.setattr(lm, "_scorer", None)
    for kind, kept in found.items():
        assert getattr(CachingLM(lm, str(tmp_path / "answers.db")), kind)(requests[kind]) == [kept]


def test_conversations_are_worded_by_the_tokenizer_s_template() -> None:
    lm = FocusLM(text_model())
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    with pytest.raises(ConfigurationError, match="no chat template"):
        lm.apply_chat_template(messages)
    lm.tokenizer.chat_template = TEMPLATE
    assert lm.apply_chat_template(messages) == "user: Hello\nassistant:"
    begun = [messages[1], {"role": "assistant", "content": "Well"}]
    assert lm.apply_chat_template(begun, add_generation_prompt=False) == "user: Hello\nassistant: Well"
    assert lm.chat_template(True) == TEMPLATE


def test_what_cannot_be_asked_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="comes with its tokenizer"):
        FocusLM(tiny_model())
    with pytest.raises(ConfigurationError, match="two names for one thing"):
        FocusLM("a", pretrained="b")
    with pytest.raises(ConfigurationError, match="Unknown settings"):
        FocusLM(text_model(), chunk_size=3)
    with pytest.raises(ConfigurationError, match="`batch_size`"):
        FocusLM(text_model(), batch_size=0)
    with pytest.raises(ConfigurationError, match="half the window, 32"):
        FocusLM(text_model(), stride=33)
    with pytest.raises(WindowError, match="candidates"):
        FocusLM(text_model())._loglikelihood_tokens([(("", ""), random_ids(900), [5, 6])], disable_tqdm=True)
