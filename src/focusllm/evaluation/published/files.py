"""Reading the files a published benchmark comes with: samples, and what its own code says of prompts.

Nothing of a benchmark is run: Python files are parsed, and only plain values and texts put together of such are taken.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focusllm.errors import InputError


@dataclass(frozen=True)
class Fields:
    """One sample, as its file has it.

    Attributes:
        place: Where it stands, for errors.
        values: Its fields.
    """

    place: str
    values: dict[str, Any]

    def any(self, name: str) -> Any:
        """Return a field.

        Raises:
            InputError: There is none.
        """
        if name not in self.values:
            raise InputError(
                f"{self.place} has no field {name!r}; it has {', '.join(self.values) or 'none'}. The file is not as "
                f"the benchmark publishes it: download it again."
            )
        return self.values[name]

    def text(self, name: str) -> str:
        """Return a field that is a text.

        Raises:
            InputError: There is none, or it is something else.
        """
        return self._of(name, self.any(name), str, "a text")

    def listed(self, name: str) -> list[Any]:
        """Return a field that is a list; a single value counts as a list of one.

        Raises:
            InputError: There is none, or it is an empty list.
        """
        value = self.any(name)
        if value == [] or value is None:
            raise InputError(f"{self.place}: the field {name!r} is empty; a sample needs at least one value there.")
        return value if isinstance(value, list) else [value]

    def texts(self, name: str) -> list[str]:
        """Return a field that is a list of texts, or a text.

        Raises:
            InputError: There is none, it is empty, or it holds something else.
        """
        return [self._of(name, value, str, "a text, or a list of texts") for value in self.listed(name)]

    def number(self, name: str) -> float:
        """Return a field that is a number.

        Raises:
            InputError: There is none, or it is something else.
        """
        return self._of(name, self.any(name), (int, float), "a number")

    def _of(self, name: str, value: Any, kind: Any, described: str) -> Any:
        if not isinstance(value, kind):
            raise InputError(f"{self.place}: the field {name!r} must be {described}; got {value!r:.80}.")
        return value


def found(folder: Path, places: Sequence[str], what: str) -> Path:
    """Return the first of some places in a folder where there is a file.

    Raises:
        InputError: The folder is missing, or there is none.
    """
    if not folder.is_dir():
        raise InputError(f"--data must be the folder of a benchmark's repository and data; {folder} is no folder.")
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise InputError(f"There is no {what} in {folder}: looked for {', '.join(places)}. Put it at one of these places.")


def samples_of(path: Path) -> Iterator[Fields]:
    """Yield the samples of a file of JSON lines, or of one JSON list; empty lines are passed over.

    Raises:
        InputError: It is not text, or a line of it is not a JSON object.
    """
    with path.open("rb") as file:
        if file.read(1) == b"[":
            parts = _parsed(text_of(path).encode(), str(path))
            yield from (_fields(f"{path}, sample {n}", part) for n, part in enumerate(parts, 1))
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                place = f"{path}, line {number}"
                yield _fields(place, _parsed(line, place))


def json_of(path: Path) -> dict[str, Any]:
    """Return the object a JSON file holds.

    Raises:
        InputError: It does not hold one.
    """
    return _fields(str(path), _parsed(text_of(path).encode(), str(path))).values


def text_of(path: Path) -> str:
    """Return a file's text.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason}): the file is damaged; download it again."
        ) from error


def python_value(path: Path, name: str) -> Any:
    """Return what a Python file assigns to a name, without running it.

    Plain values are read as :func:`ast.literal_eval` does; texts may be added, and may name others in braces. What
    stands in braces and is no text of the file stays there as a placeholder.

    Raises:
        InputError: The file is not Python, assigns nothing to the name, or something that is no plain value.
    """
    try:
        tree = ast.parse(text_of(path))
        assigned = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        return _plain(assigned[name], assigned)
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} has no plain value called {name!r} ({type(error).__name__}: {error}). It must be the file of "
            f"the benchmark's own repository."
        ) from error


def _plain(node: ast.expr, assigned: dict[str, ast.expr]) -> Any:
    match node:
        case ast.Dict(keys, values) if None not in keys:
            return {_plain(key, assigned): _plain(value, assigned) for key, value in zip(keys, values, strict=True)}  # type: ignore[arg-type]
        case ast.BinOp(left, ast.Add(), right):
            return _plain(left, assigned) + _plain(right, assigned)
        case ast.JoinedStr(values):
            return "".join(_plain(value, assigned) for value in values)
        case ast.FormattedValue(ast.Name(name)):
            text = assigned.get(name)
            return _plain(text, assigned) if isinstance(text, (ast.Constant, ast.JoinedStr)) else f"{{{name}}}"
        case _:
            return ast.literal_eval(node)


def _parsed(text: bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{place} is not JSON ({error}): the file is damaged; download it again.") from error


def _fields(place: str, value: Any) -> Fields:
    if not isinstance(value, dict):
        raise InputError(f"{place} must be a JSON object; got {value!r:.80}.")
    return Fields(place, value)
