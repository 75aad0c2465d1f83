"""A server of a tiny model, spoken to without a network."""

from typing import Any

from fastapi.testclient import TestClient

from focusllm import FocusModel
from focusllm.serving.app import Api, create_app
from focusllm.serving.completing import Completer
from focusllm.serving.engine import ServingEngine
from focusllm.serving.guard import Guard
from focusllm.serving.sessions import Sessions

TEXT = "a text of many words. " * 15


class Served:
    """A server and a client of it."""

    def __init__(self, model: FocusModel, max_waiting: int = 4, guard: Guard | None = None) -> None:
        self.model, self.sessions, self.engine = model, Sessions(model), ServingEngine(max_waiting)
        completer = Completer(model, self.sessions, most_tokens=8)
        self.app = create_app(Api(model, "tiny", self.sessions, completer, self.engine), guard or Guard())
        self.client = TestClient(self.app, "http://127.0.0.1", raise_server_exceptions=False)

    def post(self, path: str, **body: Any) -> Any:
        """Post a body and return the status and what comes back."""
        response = self.client.post(f"/v1/{path}", json=body)
        return response.status_code, response.json()

    def chat(self, question: str = "why?", **body: Any) -> Any:
        """Ask a question and return the response, which must be a good one."""
        status, found = self.post("chat/completions", messages=[{"role": "user", "content": question}], **body)
        assert status == 200, found
        return found

    def __enter__(self) -> "Served":
        self.client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.client.__exit__(*error)
        self.engine.close()
