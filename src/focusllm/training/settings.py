"""Settings files: YAML as people write it, settings replaced by their dotted names."""

import re
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import yaml
from yaml.composer import ComposerError

from focusllm.errors import ConfigurationError, InputError

_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML as people write it, and no name is given twice.

    5e-4 is a number, which YAML 1.1 takes for text, and `no` a text, which it takes for false: a `save_strategy`.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a name that is given twice, the first of which would be lost without a word."""
        node = super().compose_mapping_node(anchor)
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ComposerError(None, None, f"{twice} are given twice", node.start_mark)
        return node


_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: it makes plain values only


def _in_one_line(error: Exception) -> str:
    """Return what is wrong and where, without the copy of the text that PyYAML adds."""
    mark = getattr(error, "problem_mark", None)
    return str(error) if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"  # type: ignore[attr-defined]


def read_settings(path: Path, what: str) -> dict[str, Any]:
    """Read the settings in a YAML file by their names.

    Args:
        path: The file.
        what: What it should be, for errors: "recipe".

    Raises:
        InputError: The file cannot be read, or does not hold settings by name.
    """
    if not path.is_file():
        raise InputError(f"There is no {what} at {str(path)!r}.")
    try:
        values = _load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file: {_in_one_line(error)}.") from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path} must hold settings by name, such as `base: …`; found {shortened(values) if values else 'nothing'}."
        )
    return values


def parse_override(override: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE``; the value is YAML.

    Raises:
        ConfigurationError: There is no ``=``, or the value is not YAML.
    """
    name, separator, text = override.partition("=")
    if not separator:
        raise ConfigurationError(f"An override is written NAME=VALUE; got {override!r}.")
    try:
        return name, _load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"The value of an override is YAML; {override!r} is not: {_in_one_line(error)}."
        ) from error


def override(values: dict[str, Any], name: str, value: Any) -> None:
    """Set what a dotted name stands for.

    A name of settings in a list sets them in every entry of it, with a number before it (``draws.0.max_chunks``) in
    that entry, counted from 0.

    Raises:
        ConfigurationError: A part of the name stands for a plain value, or there is no entry of that number.
    """
    parent, _, rest = name.partition(".")
    if not rest:
        values[name] = value
        return
    found = values.setdefault(parent, {})
    entries = found if isinstance(found, list) else [found]
    number, _, deeper = rest.partition(".")
    if isinstance(found, list) and number.isdecimal() and deeper:
        if int(number) >= len(found):
            raise ConfigurationError(
                f"{name!r} cannot be set: {parent!r} has {len(found)} entries, counted from 0; got {number}."
            )
        entries, rest = [found[int(number)]], deeper
    for entry in entries:
        if not isinstance(entry, dict):
            raise ConfigurationError(f"{name!r} cannot be set: {parent!r} has no settings by name in it.")
        override(entry, rest, value)
