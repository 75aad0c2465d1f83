"""Responses, as clients of OpenAI's API read them, whole or as a stream. Source: OpenAI's API reference."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from focusllm.errors import FocusError
from focusllm.serving.completing import Completion
from focusllm.serving.engine import Task
from focusllm.serving.protocol import StreamOptions
from focusllm.serving.refusal import refusal_of


@dataclass(frozen=True)
class Reply:
    """The shape of one response.

    Attributes:
        model: The model's id.
        is_chat: Whether it is one of the chat's, or of a plain completion.
        code: What tells it from others.
        created: When it was made, in seconds since 1970.
    """

    model: str
    is_chat: bool
    code: str = field(default_factory=lambda: token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, completion: Completion) -> dict[str, Any]:
        """Return the response."""
        said = {"role": "assistant", "content": completion.text}
        choice = {"message": said} if self.is_chat else {"text": completion.text}
        return {**self._body([self._choice(choice, completion)], ""), **_evidence(completion), **_usage(completion)}

    async def stream(self, task: Task[Completion], options: StreamOptions) -> AsyncIterator[str]:
        """Yield the response as server-sent events.

        Args:
            task: What the pieces of the text come from.
            options: What the client wants besides.

        Raises:
            FocusError: The work failed before the first event; later on an event says so.
        """
        pieces = task.pieces()
        first = await anext(pieces, None)
        if first is None:
            await task.result()
        unused = {"usage": None} if options.include_usage else {}
        if self.is_chat:
            yield self._event([self._choice({"delta": {"role": "assistant", "content": ""}})], unused)
        if first is not None:
            yield self._event([self._choice(self._piece(first))], unused)
        async for piece in pieces:
            yield self._event([self._choice(self._piece(piece))], unused)
        try:
            completion = await task.result()
        except FocusError as error:
            yield _event(refusal_of(error).body())
        else:
            last = self._choice({"delta": {}} if self.is_chat else {"text": ""}, completion)
            yield self._event([last], {**unused, **_evidence(completion)})
            if options.include_usage:
                yield self._event([], _usage(completion))
        yield "data: [DONE]\n\n"

    def _piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if self.is_chat else {"text": text}

    def _choice(self, content: dict[str, Any], completion: Completion | None = None) -> dict[str, Any]:
        reason = None if completion is None else "stop" if completion.is_whole else "length"
        return {"index": 0, **content, "logprobs": None, "finish_reason": reason}

    def _event(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> str:
        return _event({**self._body(choices, ".chunk"), **more})

    def _body(self, choices: list[dict[str, Any]], part: str) -> dict[str, Any]:
        kind = ("chatcmpl", f"chat.completion{part}") if self.is_chat else ("cmpl", "text_completion")
        about = {"id": f"{kind[0]}-{self.code}", "object": kind[1], "created": self.created, "model": self.model}
        return {**about, "choices": choices}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _evidence(completion: Completion) -> dict[str, Any]:
    return {} if completion.evidence is None else {"evidence": completion.evidence}


def _usage(completion: Completion) -> dict[str, Any]:
    prompt, new = completion.prompt_tokens, completion.completion_tokens
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}}
