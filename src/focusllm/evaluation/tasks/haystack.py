"""Putting a long text together: introduction, filler with needles in it, question; to the token. Source: ours."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from itertools import chain, count
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from focusllm.bundled.text import installation_texts
from focusllm.errors import InputError
from focusllm.evaluation.tasks.sample import Encode

T = TypeVar("T")
# Gives lines of filler, as token ids, that have at least so many tokens together.
Filler = Callable[[int], Sequence[Sequence[int]]]


def kept_with_encoder(make: Callable[[Encode], T]) -> Callable[[Encode], T]:
    """Keep what is made once of a way to encode, for as long as the model is there that encodes, and no longer."""
    kept: WeakKeyDictionary[Any, T] = WeakKeyDictionary()

    @wraps(make)
    def made(encode: Encode) -> T:
        owner = getattr(encode, "__self__", encode)
        if owner not in kept:
            kept[owner] = make(encode)
        return kept[owner]

    return made


def spread(depth: float, count: int) -> list[float]:
    """Return the depths of several needles: the first where it is asked for, the others evenly round the text."""
    return [(depth + number / count) % 1.0 if number else depth for number in range(count)]


def in_order(depth: float, sentences: Sequence[str]) -> list[tuple[float, str]]:
    """Return sentences as needles, line by line from half a depth on to the end."""
    start = depth / 2
    return [
        (start + (1 - start) * number / len(sentences), f"{sentence}\n") for number, sentence in enumerate(sentences)
    ]


def distinct(count: int, draw: Callable[[], str]) -> list[str]:
    """Draw until there are so many different ones."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)


def line_breaks(encode: Encode, count: int) -> list[int]:
    """Return so many tokens that say nothing."""
    return (encode("\n") * count)[:count]


def check_room(name: str, num_tokens: int, room: int) -> None:
    """Check that a sample of so many tokens has room left for filler.

    Raises:
        InputError: It has less than none.
    """
    if room < 0:
        raise InputError(f"A {name} sample needs at least {num_tokens - room} tokens; got {num_tokens}.")


def put_together(
    encode: Encode,
    num_tokens: int,
    name: str,
    parts: tuple[str, str],
    needles: Sequence[tuple[float, str]],
    filler: Filler,
) -> list[int]:
    """Return a text of exactly ``num_tokens`` tokens: the last line of filler is cut to reach the length.

    Args:
        encode: Text to token ids.
        num_tokens: Tokens in all.
        name: What the sample is called in errors.
        parts: Introduction and question.
        needles: Depth, 0 to 1, and text of each; they stand between lines of filler.
        filler: The filler.

    Raises:
        InputError: The length cannot hold introduction, needles and question.
    """
    intro, question = map(encode, parts)
    hidden = [(depth, encode(text)) for depth, text in needles]
    room = num_tokens - len(intro) - len(question) - sum(len(ids) for _, ids in hidden)
    check_room(name, num_tokens, room)
    lines = [list(line) for line in filler(room)]
    excess = sum(map(len, lines)) - room
    while excess > 0:
        cut = min(excess, len(lines[-1]))
        lines[-1] = lines[-1][: len(lines[-1]) - cut]
        excess -= cut
        if not lines[-1]:
            lines.pop()
    # A line that was cut stays the last one: no needle stands behind half a line.
    total = max(len(lines) - 1, 0)
    # From the back, so that what is put in does not move the places before it.
    for depth, ids in sorted(hidden, key=lambda needle: needle[0], reverse=True):
        lines.insert(round(depth * total), ids)
    return [*intro, *chain.from_iterable(lines), *question]


def repeated(encode: Encode, unit: str) -> Filler:
    """Fill with one line, over and over."""
    ids = encode(unit)
    return lambda room: [ids] * (room // len(ids) + 1)


def other_needles(encode: Encode, used: set[T], draw: Callable[[], T], line_of: Callable[[T], str]) -> Filler:
    """Fill with lines like the needle's about things drawn, each of them once and none of those used before."""

    def fill(room: int) -> list[list[int]]:
        lines: list[list[int]] = []
        size = 0
        while size < room:
            if (drawn := draw()) not in used:
                used.add(drawn)
                lines.append(encode(line_of(drawn)))
                size += len(lines[-1])
        return lines

    return fill


def real_text(encode: Encode, start: float) -> Filler:
    """Fill with the evaluation share of the standard library's text, from a place on (0 to 1), round and round."""
    lines, encoded = _evaluation_lines(), _encoded_lines(encode)

    def fill(room: int) -> list[list[int]]:
        taken: list[list[int]] = []
        size = 0
        for place in count(int(start * len(lines))):
            if size > room:
                break
            line = lines[place % len(lines)]
            if line not in encoded:
                encoded[line] = encode(line)
            taken.append(encoded[line])
            size += len(encoded[line])
        return taken

    return fill


@cache
def _evaluation_lines() -> tuple[str, ...]:
    lines = "".join(installation_texts("evaluation")).splitlines(keepends=True)
    return tuple(line for line in lines if line.strip())


@kept_with_encoder
def _encoded_lines(encode: Encode) -> dict[str, list[int]]:
    """Return the tokens of lines that were needed so far; a short sample needs few of all."""
    return {}
