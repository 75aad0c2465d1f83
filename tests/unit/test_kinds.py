"""Values of settings are of the kinds their type hints say, and nothing is converted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from focusllm.errors import ConfigurationError
from focusllm.kinds import build_settings, check_kinds


class Shade(Enum):
    """One of the classes that judge their own values."""

    DARK = "dark"


@dataclass
class Settings:
    """A field of every kind."""

    place: Path
    count: int
    share: float | None = None
    is_wanted: bool = False
    names: str | tuple[str, ...] = ()
    table: Mapping[str, Any] | None = None
    shade: Shade | str = "dark"
    rows: list[int] | None = None


ACCEPTED: dict[str, list[Any]] = {
    "count": [0, -3, 10**400],
    "share": [None, 1, 0.5, -2.0],
    "is_wanted": [True, False],
    "names": ["a", ("a", "b"), ()],
    "table": [None, {}, {"a": object()}],
    # What an enumeration has is for the class to say.
    "shade": [Shade.DARK, "dark", 5],
    "rows": [None, [], [1, 2]],
}
REFUSED: dict[str, list[Any]] = {
    "count": [True, 1.0, "1", None, [1]],
    "share": ["0.5", True, float("nan"), float("inf"), 1j],
    "is_wanted": [0, 1, "yes", None],
    "names": [5, ("a", 5), ("",), ["a"], None],
    "table": [[], "a", {1: 2}],
    "rows": [(1, 2), [1, "2"], [True], 1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ACCEPTED for value in ACCEPTED[name]])
def test_what_a_hint_says_is_accepted(name: str, value: Any) -> None:
    check_kinds(Settings, {name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]])
def test_what_a_hint_does_not_say_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^`{name}` must be .*; got "):
        check_kinds(Settings, {name: value})


def test_fields_that_are_not_the_user_s_cannot_be_set() -> None:
    built = build_settings(Settings, {"count": 3, "names": ["a"]}, "here", place=Path("x"))
    assert (built.count, built.names, built.place) == (3, ("a",), Path("x"))
    with pytest.raises(ConfigurationError, match=r"Unknown settings \['place'\] in here"):
        build_settings(Settings, {"count": 3, "place": "y"}, "here", place=Path("x"))
    with pytest.raises(ConfigurationError, match=r"Here lacks `count`. Needed are \['count'\]"):
        build_settings(Settings, {}, "here", place=Path("x"))
