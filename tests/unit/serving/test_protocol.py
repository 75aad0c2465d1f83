"""What requests may hold, and what is refused in a sentence that names the field."""

import json
import sys
from typing import Any

import pytest

from focusllm.serving.protocol import ChatRequest, CompletionRequest, DocumentRequest, is_id, read_request
from focusllm.serving.refusal import RefusalError

MESSAGES = [{"role": "user", "content": "why?"}]


def chat(**fields: Any) -> ChatRequest:
    return read_request(ChatRequest, json.dumps({"messages": MESSAGES, **fields}).encode())


def refused(kind: Any, body: bytes | dict[str, Any]) -> RefusalError:
    with pytest.raises(RefusalError) as found:
        read_request(kind, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert found.value.status == 400
    return found.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2), ("n", True), ("best_of", 3), ("echo", True), ("suffix", "."), ("logprobs", True), ("logprobs", 0),
        ("top_logprobs", 3), ("tools", [{"type": "function"}]), ("tool_choice", "required"), ("functions", [{}]),
        ("response_format", {"type": "json_object"}), ("presence_penalty", 0.5), ("frequency_penalty", -1),
        ("logit_bias", {"5": 1}), ("modalities", ["text", "audio"]), ("presence_penalty", False),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_and_is_not_supported_is_refused(name: str, value: Any) -> None:
    error = refused(ChatRequest, {"messages": MESSAGES, name: value})
    assert f"`{name}` is not supported; got" in str(error)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    assert error.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1), ("logprobs", False), ("tools", []), ("tool_choice", "none"), ("response_format", {"type": "text"}),
        ("presence_penalty", 0), ("presence_penalty", 0.0), ("logit_bias", {}), ("tools", None), ("user", "me"),
        ("store", False), ("metadata", {"a": "b"}), ("stream_options", {"include_usage": True}), ("temperature", 1),
        ("parallel_tool_calls", True), ("stop", None),
    ],
)  # fmt: skip
def test_what_clients_send_without_meaning_anything_by_it_is_accepted(name: str, value: Any) -> None:
    assert chat(**{name: value}).messages == chat().messages


def test_unknown_fields_are_named_all_of_them() -> None:
    error = refused(ChatRequest, {"messages": MESSAGES, "top_k": 5, "documnets": ["a"]})
    assert str(error).startswith("Unknown fields: `documnets`, `top_k`. Accepted are model, documents")
    assert error.code == "unknown_field"
    assert "`messages.0.name`" in str(refused(ChatRequest, {"messages": [{**MESSAGES[0], "name": "me"}]}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "`messages`: "),
        ({"messages": "why?"}, "`messages`: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "`messages.0.role`: Input should be 'system', 'user' or"),
        ({"messages": [{"role": "user"}]}, "`messages.0.content`: Field required."),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "`messages.0.content`: "),
        ({"max_tokens": 0}, "`max_tokens`: .* got 0"),
        ({"max_tokens": 10**30}, "`max_tokens`: "),
        ({"max_tokens": True}, "`max_tokens`: "),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "are the same limit: give one of them"),
        ({"temperature": -1}, "`temperature`: "),
        ({"temperature": 2.5}, "`temperature`: "),
        ({"temperature": "hot"}, "`temperature`: .* got 'hot'"),
        ({"top_p": 0}, "`top_p`: "),
        ({"seed": 2**63}, "`seed`: "),
        ({"stop": ["a", "b", "c", "d", "e"]}, "`stop`: "),
        ({"stop": ""}, "`stop.0`: "),
        ({"stop": [5]}, "`stop.0`: "),
        ({"documents": []}, "`documents`: "),
        ({"documents": ["../etc"]}, "`documents.0`: must be 1 to 128 letters"),
        ({"evidence": True}, "`evidence` is what an answer about documents rests on"),
        ({"stream": 1}, "`stream`: "),
        ({"stream_options": {"more": 1}}, "`stream_options.more`: "),
    ],
)
def test_values_of_the_wrong_kind_are_one_sentence(fields: dict[str, Any], words: str) -> None:
    error = refused(ChatRequest, {"messages": MESSAGES, **fields})
    with pytest.raises(RefusalError, match=words):
        raise error
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"5", b"\xff\xfe", b'{"messages": NaN}', b'{"temperature": Infinity}',
        b'{"messages": "\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b'{"seed": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert str(refused(ChatRequest, body)).isprintable()


def test_parts_of_text_are_one_message_and_nulls_of_answers_are_nothing() -> None:
    parts = [{"type": "text", "text": "What"}, {"type": "text", "text": "now?"}]
    sent_back = {"role": "assistant", "content": "So.", "refusal": None, "tool_calls": None}
    found = chat(messages=[*MESSAGES, sent_back, {"role": "user", "content": parts}])
    assert [message.content for message in found.messages] == ["why?", "So.", "What\nnow?"]


def test_a_prompt_is_a_text_or_one_list_of_tokens() -> None:
    for given, wanted in (("a", "a"), (["a"], "a"), ([5, 6], [5, 6]), ([[5, 6]], [5, 6]), ([5], [5])):
        assert read_request(CompletionRequest, json.dumps({"prompt": given}).encode()).prompt == wanted
    for wrong in (5, [], [[]], ["a", "b"], [[5], [6]], [5, "a"], [True], [0.5], {"a": 1}, [None]):
        assert "must be a text or one list of token ids" in str(refused(CompletionRequest, {"prompt": wrong}))


def test_how_tokens_are_chosen_is_left_to_the_model_unless_it_is_said() -> None:
    assert chat(seed=5).sampling() == {}
    for cold in (0, 0.0, sys.float_info.min):
        assert chat(temperature=cold, top_p=0.5).sampling() == {"do_sample": False}
    assert chat(temperature=0.5).sampling() == {"do_sample": True, "temperature": 0.5}
    assert chat(top_p=1).sampling() == {"do_sample": True, "top_p": 1.0}
    assert (chat().most_tokens, chat(max_tokens=3).most_tokens, chat(max_completion_tokens=4).most_tokens) == (
        None,
        3,
        4,
    )


def test_ids_lead_nowhere() -> None:
    assert all(map(is_id, ("a", "book-2.v1", "Größe", "書", "_x")))
    wrong = ("", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "a\n", "a\0", "x" * 129, "a%2f", "\udce9")
    assert not any(map(is_id, wrong))
    assert refused(DocumentRequest, {"text": "x", "id": "a/b"}).param == "id"
