"""Who may speak to a server: those who know its key, and on this machine those who mean it. Source: ours."""

from collections.abc import Iterable
from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address

from focusllm.errors import ConfigurationError
from focusllm.serving.refusal import RefusalError

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# The only path that says nothing of documents and models.
HEALTH = "/health"


@dataclass(frozen=True)
class Guard:
    """Turns away requests before anything of them is read.

    Attributes:
        api_key: What the header `Authorization: Bearer …` must hold; ``None``: nothing.
        hosts: What the header `Host` may name; ``None``: anything. A page on the internet can have its own name point
            to this machine and so make a browser speak to the server, but the browser then says that name.
    """

    api_key: str | None = None
    hosts: frozenset[str] | None = _LOCAL_NAMES

    def check(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let a request pass.

        Args:
            path: What it is for.
            headers: Its headers, with names in lower case.

        Raises:
            RefusalError: It has another host or another key.
        """
        found = dict(headers)
        if self.hosts is not None and _name_of(found.get(b"host", b"").decode("latin-1")) not in self.hosts:
            raise RefusalError(403, f"The server answers to these hosts only: {', '.join(sorted(self.hosts))}.")
        if self.api_key is None or path == HEALTH:
            return
        given, wanted = found.get(b"authorization", b""), f"Bearer {self.api_key}".encode()
        if not compare_digest(given, wanted):
            raise RefusalError(
                401, "The API key is missing or wrong: send it as `Authorization: Bearer KEY`.",
                code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


def guard_for(host: str, api_key: str | None) -> Guard:
    """Return the guard of a server that listens at a host.

    Raises:
        ConfigurationError: Others could reach it and there is no key, or the key cannot be sent.
    """
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.split() == [api_key]):
        raise ConfigurationError("An API key is made of ASCII letters, digits and signs, without spaces; not empty.")
    if is_loopback(host):
        return Guard(api_key, _LOCAL_NAMES | {f"[{host}]" if ":" in host else host.lower()})
    if api_key is None:
        raise ConfigurationError(
            f"At {host!r} others could reach the server, and what its documents say: give --api-key, or "
            f"FOCUSLLM_API_KEY in the environment, or listen at 127.0.0.1."
        )
    return Guard(api_key, None)


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, for itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name_of(host: str) -> str:
    """Return the header's host without its port."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdecimal() else host.lower()
