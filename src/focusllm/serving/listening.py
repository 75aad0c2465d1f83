"""Where the server listens, and its beginning and end."""

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import uvicorn

from focusllm.errors import ConfigurationError

# Seconds that answers have to end in once the server stops: a token's time.
_STOPPING = 10


def bound_socket(host: str, port: int) -> socket.socket:
    """Take an address, before anything that takes long; nobody is answered there yet.

    Raises:
        ConfigurationError: It cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()
            return listener
    except OSError as error:
        raise ConfigurationError(
            f"The server cannot listen at {host}, port {port} ({error.strerror or error}): give another --host or "
            f"--port."
        ) from error


class _Server(uvicorn.Server):
    """A server that says when it is ready and when it stops."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def run(app: Any, listener: socket.socket, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
    """Serve until Ctrl-C, or until the process is told to end.

    Args:
        app: The ASGI application.
        listener: Where.
        on_ready: Called once requests are answered.
        on_stop: Called when no more requests are taken, to end those that are being answered.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=_STOPPING,
    )  # fmt: skip
    # It ends as it was asked to, and hands on the interruption then.
    with suppress(KeyboardInterrupt):
        _Server(config, on_ready, on_stop).run([listener])
