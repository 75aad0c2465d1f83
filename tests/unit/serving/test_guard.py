"""Who may speak to the server."""

import pytest

from focusllm.errors import ConfigurationError
from focusllm.serving.guard import Guard, guard_for
from focusllm.serving.refusal import RefusalError


def status(guard: Guard, host: str, key: str | None = None, path: str = "/v1/models") -> int:
    headers = [(b"host", host.encode())] + ([] if key is None else [(b"authorization", key.encode("latin-1"))])
    try:
        guard.check(path, headers)
    except RefusalError as error:
        return error.status
    return 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LocalHost:80", "[::1]:8000", "[::1]"])
def test_this_machine_s_names_are_let_in(host: str) -> None:
    assert status(guard_for("127.0.0.1", None), host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "localhost@evil"])
def test_other_names_of_this_machine_are_not(host: str) -> None:
    guard = guard_for("127.0.0.1", "key")
    assert status(guard, host, "Bearer key") == 403
    assert status(guard, host, path="/health") == 403


def test_the_key_is_asked_for_everywhere_but_at_health() -> None:
    guard = guard_for("0.0.0.0", "key")
    for wrong in (None, "", "key", "Bearer", "Bearer ke", "Bearer keyy", "bearer key", "Bearer k\xe9y"):
        for path in ("/v1/models", "/v1/documents", "/", "/health/", "//health", "/v1/../health"):
            assert status(guard, "anything", wrong, path) == 401
    assert status(guard, "anything", "Bearer key") == 200
    assert status(guard, "anything", path="/health") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "my-machine"])
def test_beyond_this_machine_there_must_be_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"others could reach .* give --api-key, or FOCUSLLM_API_KEY"):
        guard_for(host, None)
    assert guard_for(host, "key").hosts is None


@pytest.mark.parametrize("key", ["", " ", "a b", "schlüssel", "a\n"])
def test_a_key_that_no_header_holds_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="An API key is made of"):
        guard_for("127.0.0.1", key)


def test_any_loopback_address_has_its_own_name() -> None:
    assert status(guard_for("127.0.0.2", None), "127.0.0.2:8000") == 200
    assert status(guard_for("::1", None), "[::1]:8000") == 200
