"""Dataclasses of settings, made of what people write: their names and the kinds their type hints say. Source: ours."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from focusllm.errors import ConfigurationError

_NAMES = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "left out",
    dict: "settings by name",
}  # fmt: skip


def build_settings(kind: Any, values: Any, place: str, /, **own: Any) -> Any:
    """Make a dataclass of settings.

    Args:
        kind: The dataclass.
        values: Its fields by name; lists become tuples.
        place: Where they stand, for errors.
        **own: Fields that are not the user's to set.

    Raises:
        ConfigurationError: A name is unknown, one is missing, or a value is of another kind or refused.
    """
    known = [field for field in fields(kind) if field.name not in own]
    names = [field.name for field in known]
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"Settings are given by name in {place}, such as `{names[0]}: …`; got {shortened(values)}."
        )
    unknown = sorted(set(values) - set(names), key=str)
    if unknown:
        raise ConfigurationError(f"Unknown settings {unknown} in {place}. Accepted are {names}.")
    needed = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]
    for name in needed:
        if name not in values:
            raise ConfigurationError(f"{place[0].upper()}{place[1:]} lacks `{name}`. Needed are {needed}.")
    # JSON and YAML have lists where the settings are tuples.
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    check_kinds(kind, settings)
    return kind(**settings, **own)


def check_kinds(kind: Any, settings: Mapping[str, Any]) -> None:
    """Refuse what is no number, text or list where a class's type hints want one.

    Nothing is converted: a text is not the list of its letters, and true is not 1. What only the class can judge,
    such as the names of an enumeration, is left to it.

    Args:
        kind: The class.
        settings: Some of its fields by name.

    Raises:
        ConfigurationError: A value is of another kind.
    """
    hints = get_type_hints(kind)
    for name, value in settings.items():
        hint = hints.get(name, object)
        if not _is_of(value, hint):
            raise ConfigurationError(f"`{name}` must be {_said(hint)}; got {value!r}.")


def _is_of(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_is_of(one, parts[0]) and one != "" for one in value)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    if hint is float:
        # Neither infinite nor no number at all.
        return type(value) in (int, float) and abs(value) < math.inf
    if hint is int:
        return type(value) is int
    return not isinstance(hint, type) or issubclass(hint, Enum) or isinstance(value, hint)


def _said(hint: Any) -> str:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_said, parts))
    if origin in (tuple, list):
        return f"a list of {_said(parts[0]).removeprefix('a ')}s"
    return _NAMES.get(dict if origin is Mapping else origin, str(hint))
