"""The server from the outside: what it answers, what it refuses, and that it goes on whatever it was sent."""

import asyncio
import json
from threading import Event
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focusllm import FocusModel
from focusllm.decoding.engine import FocusEngine
from focusllm.serving import app as app_module
from focusllm.serving.guard import Guard
from served import TEXT, Served

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[me]"


def events_of(served: Served, path: str, **body: Any) -> list[dict[str, Any]]:
    """Return the events of a stream, which must end as streams do."""
    response = served.client.post(f"/v1/{path}", json={"stream": True, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last, nothing = response.text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def read(served: Served, name: str = "novel", text: str = TEXT) -> None:
    status, found = served.post("documents", text=text, id=name)
    assert status == 201, found


def test_an_answer_is_that_of_the_library(served: Served) -> None:
    read(served)
    read(served, "other", "Another text. " * 9)
    found = served.chat("why?", documents=["novel", "other"], max_tokens=6, evidence=True)
    wanted: Any = served.model.ask([TEXT, "Another text. " * 9], "why?", max_new_tokens=6)
    [choice] = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": wanted.text}
    assert choice["finish_reason"] == ("length" if len(wanted.token_ids) == 6 else "stop")
    new = len(wanted.token_ids)
    usage = {"prompt_tokens": wanted.num_tokens, "completion_tokens": new, "total_tokens": wanted.num_tokens + new}
    assert found["usage"] == usage
    spans = [(span["text"], span["share"], span["first_line"], span["first_page"]) for span in found["evidence"]]
    assert spans == [(span.text, span.share, span.first_line, span.first_page) for span in wanted.evidence]
    assert {span["document"] for span in found["evidence"]} <= {"novel", "other"}
    assert (found["object"], found["model"]) == ("chat.completion", "tiny")


def test_documents_are_used_and_read_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    read(served)
    read(served, "other", "Something else altogether! " * 12)
    monkeypatch.setattr(FocusEngine, "index", lambda *_, **__: pytest.fail("it has been read"))
    usual = {"max_tokens": 8, "evidence": True}
    answers = [served.chat(documents=[name], **usual) for name in ("novel", "other", "novel")]
    shares = [[span["share"] for span in answer["evidence"]] for answer in answers]
    assert shares[0] == shares[2] != shares[1]
    texts = {span["text"] for span in answers[1]["evidence"]}
    assert texts
    assert all(text in "Something else altogether! " * 12 for text in texts)


@pytest.mark.parametrize("stop", [None, [" "], ["e", "xyz"]])
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("documents", [None, ["novel"]])
def test_streams_say_what_plain_answers_say(
    served: Served, path: str, documents: list[str] | None, stop: list[str] | None
) -> None:
    read(served)
    served.model.tokenizer.chat_template = TEMPLATE  # type: ignore[union-attr]
    asked = {"messages": [{"role": "user", "content": "why?"}]} if "chat" in path else {"prompt": "why is it"}
    body = {**asked, "max_tokens": 12, "documents": documents, "stop": stop, "seed": 3, "temperature": 1.5}
    status, plain = served.post(path, **body)
    assert status == 200, plain
    *events, last, usage = events_of(served, path, **body, stream_options={"include_usage": True})
    if "chat" in path:
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        text = "".join(event["choices"][0]["delta"]["content"] for event in events)
        wanted = plain["choices"][0]["message"]["content"]
    else:
        text, wanted = "".join(event["choices"][0]["text"] for event in events), plain["choices"][0]["text"]
    assert (text, bool(text)) == (wanted, True)
    assert all(event["choices"][0]["finish_reason"] is None for event in events)
    assert last["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], plain["usage"])
    assert not any(word in text for word in stop or ())


def test_a_stream_ends_with_the_evidence(served: Served) -> None:
    read(served)
    messages = [{"role": "user", "content": "why?"}]
    *events, last = events_of(served, "chat/completions", messages=messages, documents=["novel"], evidence=True)
    assert not any("evidence" in event for event in events)
    assert last["evidence"] == served.chat(documents=["novel"], evidence=True)["evidence"] != []
    assert "usage" not in last


def test_a_text_is_gone_on_with_as_generate_does(served: Served) -> None:
    long = "a text of many words. " * 20
    for prompt in ("some words", long, served.model.encode(long)):
        status, found = served.post("completions", prompt=prompt, max_tokens=5)
        ids = served.model.encode(prompt) if isinstance(prompt, str) else prompt
        new = served.model.generate(torch.tensor([ids]), max_new_tokens=5)[0, len(ids) :]
        wanted = served.model.tokenizer.decode(new, skip_special_tokens=True)  # type: ignore[union-attr]
        assert (status, found["choices"][0]["text"]) == (200, wanted)
        assert found["usage"]["prompt_tokens"] == len(ids)


def test_without_a_template_turns_are_history_and_other_orders_are_refused(served: Served) -> None:
    read(served)
    turns = [{"role": role, "content": text} for role, text in (("user", "a?"), ("assistant", "b"), ("user", "c?"))]
    _, found = served.post("chat/completions", messages=turns, documents=["novel"])
    wanted: Any = served.model.ask(TEXT, "c?", history=[("a?", "b")], max_new_tokens=8)
    assert found["choices"][0]["message"]["content"] == wanted.text
    assert found["usage"]["prompt_tokens"] == wanted.num_tokens
    for wrong in (turns[:2], turns[1:], [{"role": "system", "content": "Be brief."}, *turns], turns[:1] * 2):
        status, found = served.post("chat/completions", messages=wrong, documents=["novel"])
        assert (status, found["error"]["param"]) == (400, "messages")
    status, found = served.post("chat/completions", messages=turns)
    assert (status, "no chat template" in found["error"]["message"]) == (400, True)


def test_with_a_template_a_conversation_is_worded_by_it(served: Served) -> None:
    read(served)
    served.model.tokenizer.chat_template = TEMPLATE  # type: ignore[union-attr]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why?"}]
    _, found = served.post("chat/completions", messages=messages, documents=["novel"])
    wanted: Any = served.model.ask(TEXT, messages, max_new_tokens=8)
    assert found["choices"][0]["message"]["content"] == wanted.text
    _, found = served.post("chat/completions", messages=messages)
    assert found["usage"]["prompt_tokens"] == len(served.model.encode("[system] Be brief.\n[user] why?\n[me]"))


def test_documents_come_and_go(served: Served) -> None:
    status, made = served.post("documents", text=TEXT)
    assert (status, made["num_tokens"], made["num_chunks"]) == (201, len(TEXT), 28)
    assert served.client.get("/v1/documents").json() == {"object": "list", "data": [made]}
    assert served.client.get(f"/v1/documents/{made['id']}").json() == made
    assert served.client.delete(f"/v1/documents/{made['id']}").json()["deleted"] is True
    for method in ("GET", "DELETE"):
        response = served.client.request(method, f"/v1/documents/{made['id']}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "document_not_found")
    status, found = served.post("completions", prompt="why?", documents=[made["id"]])
    assert (status, found["error"]["param"]) == (404, "documents")
    read(served, "書-1")
    assert served.client.get("/v1/documents/書-1").status_code == 200
    status, found = served.post("documents", text=TEXT, id="書-1")
    assert (status, found["error"]["code"]) == (409, "document_exists")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("documents", {"text": "x" * 12 * 260}, "the base's window has 256"),
        ("documents", {"text": "  "}, "is empty"),
        ("completions", {"prompt": "why?", "documents": ["novel"], "max_tokens": 500}, "the base's window has 256"),
        ("completions", {"prompt": " ", "documents": ["novel"]}, "The question is empty"),
        ("completions", {"prompt": [5, 6], "documents": ["novel"]}, "give it as text"),
        ("completions", {"prompt": "why?", "documents": ["novel", "novel"]}, "The same document was given twice"),
        ("completions", {"prompt": [259]}, "Token 259 is not in the base's vocabulary"),
        ("completions", {"prompt": [-1, 2**70]}, "is not in the base's vocabulary"),
        ("completions", {"prompt": ""}, "`prompt` is empty"),
        ("completions", {"prompt": "x", "stream": True, "max_tokens": 500}, "the base's window has 256"),
    ],
)
def test_what_the_library_refuses_is_said_in_its_own_sentence(
    served: Served, path: str, body: dict[str, Any], words: str
) -> None:
    read(served)
    status, found = served.post(path, **body)
    assert (status, words in found["error"]["message"]) == (400, True), found
    assert found["error"].keys() == {"message", "type", "param", "code"}


def test_another_model_is_not_there(served: Served) -> None:
    [model] = served.client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["window"], model["has_chat_template"]) == ("tiny", "model", 256, False)
    assert served.post("completions", prompt="x", model="tiny")[0] == 200
    status, found = served.post("completions", prompt="x", model="gpt-4")
    assert (status, found["error"]["code"]) == (404, "model_not_found")


def test_errors_of_http_have_the_same_shape(served: Served) -> None:
    get, post = served.client.get, served.client.post
    for response, status in (
        (get("/nothing"), 404), (get("/docs"), 404), (get("/openapi.json"), 404), (get("/v1/chat/completions"), 405),
        (get("/v1/models/"), 404), (post("/v1/completions", content=b'{"prompt": "x"}'), 415),
        (post("/v1/completions", data={"prompt": "x"}), 415), (get("/health", headers={"host": "evil.example"}), 403),
    ):  # fmt: skip
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_bodies_have_a_largest_size(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app_module.MAX_BODY_BYTES > 400_000 * 20
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 1000)
    header = {"content-type": "application/json"}

    def pieces() -> Any:
        yield from [b'{"prompt": "'] + [b"x" * 500] * 3

    for body in (b" " * 1001, pieces()):
        response = served.client.post("/v1/completions", content=body, headers=header)
        assert (response.status_code, "at most 1,000 bytes" in response.text) == (413, True)
    assert served.post("completions", prompt="x")[0] == 200


def test_a_key_is_needed_where_there_is_one(model: FocusModel) -> None:
    with Served(model, guard=Guard("key")) as served:
        assert served.client.get("/health").json() == {"status": "ok"}
        for path in ("/v1/models", "/v1/documents", "/v1/documents/x", "/nothing"):
            response = served.client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert served.client.get("/v1/models", headers={"Authorization": "Bearer key"}).status_code == 200


async def _ask_and_leave(served: Served, path: str, body: bytes, begun: Event, *, is_whole: bool = True) -> None:
    """Send a request, or the beginning of one, and go away once work on it has begun."""
    messages = [{"type": "http.request", "body": body, "more_body": not is_whole}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        while not begun.is_set():
            await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": b"", "query_string": b"",
        "headers": headers, "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    await asyncio.wait_for(served.app(scope, receive, send), 30)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_answer(served: Served, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    begun, steps, step = Event(), [], FocusEngine.step

    def slow_step(*arguments: Any, **named: Any) -> Any:
        steps.append(1)
        if len(steps) > 3:
            begun.set()
            # Of the answer there is more than enough: it is the leaving that ends it.
            Event().wait(0.05)
        return step(*arguments, **named)

    monkeypatch.setattr(FocusEngine, "step", slow_step)
    body = json.dumps({"prompt": "some words", "max_tokens": 200, "stream": stream}).encode()
    asyncio.run(_ask_and_leave(served, "/v1/completions", body, begun))
    assert served.post("completions", prompt="x", max_tokens=1)[0] == 200
    assert 3 < len(steps) < 100


def test_a_client_that_goes_away_ends_its_reading(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, read_so_far = Event(), []

    def slow_index(*_: Any, progress: Any, **__: Any) -> None:
        begun.set()
        for number in range(1000):
            read_so_far.append(number)
            progress(number, 1000)
            Event().wait(0.01)
        pytest.fail("nobody waits for it")

    monkeypatch.setattr(FocusModel, "index", slow_index)
    asyncio.run(_ask_and_leave(served, "/v1/documents", json.dumps({"text": TEXT}).encode(), begun))
    assert served.post("completions", prompt="x", max_tokens=1)[0] == 200
    assert (0 < len(read_so_far) < 1000, served.sessions.all()) == (True, [])


def test_a_client_that_goes_away_while_it_sends_is_no_failure(served: Served) -> None:
    begun = Event()
    begun.set()
    # What fails inside is raised here.
    asyncio.run(_ask_and_leave(served, "/v1/documents", b'{"text": "a te', begun, is_whole=False))
    assert served.sessions.all() == []


def test_further_requests_are_turned_away(model: FocusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, free, step = Event(), Event(), FocusEngine.step

    def held_step(*arguments: Any, **named: Any) -> Any:
        begun.set()
        assert free.wait(30)
        return step(*arguments, **named)

    monkeypatch.setattr(FocusEngine, "step", held_step)

    async def story(served: Served) -> tuple[Any, Any]:
        first = asyncio.create_task(asyncio.to_thread(served.post, "completions", prompt="some words"))
        await asyncio.to_thread(begun.wait, 30)
        # What needs no turn is answered meanwhile.
        assert (await asyncio.to_thread(served.client.get, "/health")).status_code == 200
        other = await asyncio.to_thread(served.client.post, "/v1/completions", json={"prompt": "x"})
        free.set()
        return await first, other

    with Served(model, max_waiting=0) as served:
        (status, _), other = asyncio.run(story(served))
    assert (status, other.status_code) == (200, 429)
    assert int(other.headers["retry-after"]) > 0


def test_what_fails_inside_is_said_without_particulars(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("generate", "answers"):
        monkeypatch.setattr(FocusModel, place, lambda *_, **__: 1 / 0)
    monkeypatch.setattr(served.sessions, "all", lambda: 1 / 0)
    read(served)
    for documents in (None, ["novel"]):
        status, found = served.post("completions", prompt="x", documents=documents)
        assert (status, found["error"]["type"]) == (500, "server_error")
        assert "division" not in found["error"]["message"]
    response = served.client.get("/v1/documents")
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["novel", 2**80]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]) | JSON, "content": JSON})
NAMED = {
    "messages": st.lists(MESSAGE, max_size=3) | JSON, "prompt": st.lists(st.integers(-3, 300), max_size=5) | JSON,
    "text": st.text(max_size=30) | JSON, "id": st.text(max_size=5) | JSON, "documents": st.just(["novel"]) | JSON,
    "max_tokens": st.integers(-1, 3) | JSON, "temperature": st.floats(0, 2) | JSON, "top_p": st.floats(0, 1) | JSON,
    "seed": st.integers() | JSON, "stop": st.lists(st.text(max_size=3), max_size=3) | JSON, "evidence": JSON,
    "stream": st.booleans() | JSON, "n": st.integers(0, 2), "other": JSON,
}  # fmt: skip
BODY = st.fixed_dictionaries({}, optional=NAMED)
PATHS = st.sampled_from(["chat/completions", "completions", "documents"])


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=PATHS,
    body=BODY.map(lambda body: json.dumps({"max_tokens": 2, **body}).encode()) | JSON.map(json.dumps).map(str.encode)
    | st.binary(max_size=40),
)  # fmt: skip
def test_whatever_is_sent_the_server_goes_on(served: Served, path: str, body: bytes) -> None:
    if not served.sessions.all():
        read(served)
    response = served.client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 201, 400, 404, 409), response.text
    if response.status_code >= 400:
        assert response.json()["error"]["message"]
    assert served.chat(documents=["novel"], max_tokens=1)["usage"]["completion_tokens"] == 1
