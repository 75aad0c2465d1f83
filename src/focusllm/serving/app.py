"""The routes of the server; the only module that knows the web framework. Source: OpenAI's API reference; ours."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from focusllm.errors import FocusError
from focusllm.model import FocusModel
from focusllm.serving.completing import Completer, Completion
from focusllm.serving.engine import ServingEngine, Task
from focusllm.serving.guard import HEALTH, Guard
from focusllm.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    DocumentRequest,
    GenerationRequest,
    read_request,
)
from focusllm.serving.refusal import RefusalError, refusal_of
from focusllm.serving.replies import Reply
from focusllm.serving.sessions import Sessions

T = TypeVar("T")
# Bytes of a request: forty for each of 400,000 tokens.
MAX_BODY_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Api:
    """What a server serves.

    Attributes:
        model: The model.
        name: Its id.
        sessions: The documents.
        completer: What answers.
        engine: Whose turn it is.
    """

    model: FocusModel
    name: str
    sessions: Sessions
    completer: Completer
    engine: ServingEngine
    created: int = field(default_factory=lambda: int(time.time()))

    async def health(self) -> Response:
        """Say that the server is ready."""
        return JSONResponse({"status": "ok"})

    async def models(self) -> Response:
        """List the one model."""
        facts = {"window": self.model.window, "has_chat_template": self.completer.has_chat_template}
        about = {"id": self.name, "object": "model", "created": self.created, "owned_by": "focusllm", **facts}
        return JSONResponse({"object": "list", "data": [about]})

    async def chat(self, request: Request) -> Response:
        """Go on with a conversation."""
        asked = read_request(ChatRequest, await _body_of(request))
        return await self._reply(request, asked, lambda task: self.completer.chat(asked, task), is_chat=True)

    async def complete(self, request: Request) -> Response:
        """Go on with a text."""
        asked = read_request(CompletionRequest, await _body_of(request))
        return await self._reply(request, asked, lambda task: self.completer.complete(asked, task), is_chat=False)

    async def add_document(self, request: Request) -> Response:
        """Read a document."""
        given = read_request(DocumentRequest, await _body_of(request))
        task = self.engine.submit(
            lambda task: self.sessions.read(given.text, given.id, lambda read, total: task.check())
        )
        return JSONResponse((await _attended(request, task)).described(), 201)

    async def documents(self) -> Response:
        """List the documents."""
        return JSONResponse({"object": "list", "data": [session.described() for session in self.sessions.all()]})

    async def document(self, name: str) -> Response:
        """Say what is known of a document."""
        return JSONResponse(self.sessions.get(name).described())

    async def remove_document(self, name: str) -> Response:
        """Forget a document, once nothing is being answered."""
        # Whether or not the client waits for it.
        await self.engine.submit(lambda task: self.sessions.remove(name)).result()
        return JSONResponse({"id": name, "object": "document", "deleted": True})

    async def _reply(self, request: Request, asked: GenerationRequest, work: Any, *, is_chat: bool) -> Response:
        if asked.model not in (None, self.name):
            raise RefusalError(
                404, f"There is no model {asked.model[:128]!a} here; this server has {self.name!a}.", "model",
                "model_not_found",
            )  # fmt: skip
        task: Task[Completion] = self.engine.submit(work)
        reply = Reply(self.name, is_chat)
        if not asked.stream:
            return JSONResponse(reply.whole(await _attended(request, task)))
        events = await _begun(_until_left(request, task, reply.stream(task, asked.stream_options)))
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def create_app(api: Api, guard: Guard) -> FastAPI:
    """Return the server as an ASGI application, without the framework's own pages.

    Args:
        api: What is served.
        guard: Who may ask.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_api_route(HEALTH, api.health, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models", api.models, methods=["GET"], response_model=None)
    app.add_api_route("/v1/chat/completions", api.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/completions", api.complete, methods=["POST"], response_model=None)
    app.add_api_route("/v1/documents", api.add_document, methods=["POST"], response_model=None)
    app.add_api_route("/v1/documents", api.documents, methods=["GET"], response_model=None)
    app.add_api_route("/v1/documents/{name}", api.document, methods=["GET"], response_model=None)
    app.add_api_route("/v1/documents/{name}", api.remove_document, methods=["DELETE"], response_model=None)
    app.add_exception_handler(FocusError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    app.add_middleware(_Guarded, guard=guard)
    return app


class _Guarded:
    """Asks the guard before anything else."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._guard.check(scope["path"], scope["headers"])
            except RefusalError as error:
                await _response_of(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, FocusError):
        return _response_of(refusal_of(error))
    if isinstance(error, HTTPException):
        return _response_of(RefusalError(error.status_code, f"{error.detail}.", headers=dict(error.headers or {})))
    # The framework's own log says the rest.
    return _response_of(RefusalError(500, "The server failed at this request; its log says how."))


def _response_of(error: RefusalError) -> Response:
    return JSONResponse(error.body(), error.status, error.headers)


async def _body_of(request: Request) -> bytes:
    """Return the body of a request, which must say that it is JSON: browsers send that to no other's server unasked.

    Raises:
        RefusalError: It is something else, too large, or cut short.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusalError(415, f"The body must be JSON, with `Content-Type: application/json`; got {kind[:128]!a}.")
    announced, body = request.headers.get("content-length", ""), bytearray()
    _check_size(int(announced[:32]) if announced.isdecimal() else 0)
    try:
        async for piece in request.stream():
            body += piece
            _check_size(len(body))
    except ClientDisconnect as error:
        raise RefusalError(400, "The body is not whole: the client went away.") from error
    return bytes(body)


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_BODY_BYTES:
        raise RefusalError(
            413, f"The body is too large: at most {MAX_BODY_BYTES:,} bytes are accepted. Send the text in parts."
        )


async def _leave_with(request: Request, task: Task[Any]) -> None:
    """Have work end when the client that waits for it goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    task.leave()


async def _attended(request: Request, task: Task[T]) -> T:
    """Return the result of work that ends when the client goes away."""
    watch = asyncio.create_task(_leave_with(request, task))
    try:
        return await task.result()
    finally:
        task.leave()
        watch.cancel()


async def _until_left(request: Request, task: Task[Any], events: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """Yield the events of work that ends when the client goes away."""
    watch = asyncio.create_task(_leave_with(request, task))
    try:
        async for event in events:
            yield event
    finally:
        task.leave()
        watch.cancel()


async def _begun(events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """Wait for the first event: what fails before has a status of HTTP that says so."""
    first = await anext(events)

    async def all_events() -> AsyncIterator[str]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    return all_events()
