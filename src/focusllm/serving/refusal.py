"""What a client is told when it gets no answer. Source: OpenAI's API reference, "Error codes"."""

from typing import Any

from focusllm.errors import FocusError

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class RefusalError(FocusError):
    """Raised when a request is refused.

    Args:
        status: The status of HTTP.
        message: What was wrong, what is accepted and what to do.
        param: The field it is about.
        code: What programs tell it by.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers or {}

    def body(self) -> dict[str, Any]:
        """Return it in OpenAI's shape."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def refusal_of(error: FocusError) -> RefusalError:
    """Return an error as a client is told of it: what the library does not accept is a mistake of the request."""
    return error if isinstance(error, RefusalError) else RefusalError(400, str(error))
