"""The scorers of InfiniteBench. Source: the rules of its ``compute_scores.py`` (commit 88b3daa6) in our own words."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d+\.\d+|\d+")
_DIGITS = re.compile("[0-9]+")
_OPTION_PREFIXES = ("answer is:", "answer:", "answer is", "option is")
_FUNCTION_PREFIXES = ("answer is:", "is:", "answer:", "correct option is:")


def first_digits_are(output: str, answer: str) -> float:
    """Compare the first run of digits with a number, whatever sign stands before it."""
    found = _DIGITS.search(output)
    return float(found is not None and found[0] == answer)


def first_value_is(output: str, answer: float) -> float:
    """Compare the first number, whole or with a point, with a value."""
    found = _NUMBER.search(output)
    return float(found is not None and float(found[0]) == answer)


def last_word_is(output: str, answer: int) -> float:
    """Compare the last word, if it is a whole number, with a value."""
    words = re.sub("[\n.`'\":]", " ", output).split()
    try:
        return float(bool(words) and int(words[-1]) == answer)
    except ValueError:
        return 0.0


def share_until_wrong(output: str, answers: Sequence[int]) -> float:
    """Return how much of a list of numbers an output gives before the first wrong one; signs are passed over."""
    # Compared as texts: a run of digits may be longer than Python turns into a number.
    numbers = [number.lstrip("0") or "0" for number in _DIGITS.findall(output)]
    right = 0
    for number, answer in zip(numbers, answers, strict=False):
        if number != str(answer):
            break
        right += 1
    return right / len(answers)


def option_is(output: str, option: str, letter: str) -> float:
    """Tell whether an output chooses an option.

    What begins with A, B, C or D counts as that letter, "Because" as B; otherwise the option itself, then what follows
    "answer is:" and the like, then the first word out of letters of "ABCD" in a row, decides.
    """
    labels, text = (option, letter), output.strip()
    if not text:
        return 0.0
    if text[0] in "ABCD":
        return float(text[0] in labels)
    if text in labels:
        return 1.0
    text = _spaced("[\n\"'.,?!{}]", text)
    if (behind := _behind(text, _OPTION_PREFIXES)) is not None:
        return float(behind.startswith(labels))
    return float(next((word for word in text.split() if word in "ABCD"), None) in labels)


def function_is(output: str, function: str, letter: str) -> float:
    """Tell whether an output names a function.

    Its letter must have a point or colon behind it, or it or its letter stand behind "answer is:" and the like.
    """
    text = output.strip()
    if text.startswith((f"{letter}.", f"{letter}:")):
        return 1.0
    behind = _behind(_spaced("[\n`'\"*-]|Option|option", text), _FUNCTION_PREFIXES)
    return float(behind is not None and behind.startswith((letter, function)))


def _spaced(gaps: str, text: str) -> str:
    return re.sub(" {2,}", " ", re.sub(gaps, " ", text))


def _behind(text: str, prefixes: Sequence[str]) -> str | None:
    """Return what stands behind the first of some words that a text holds, and one character more."""
    for prefix in prefixes:
        if (place := text.find(prefix)) >= 0:
            return text[place + len(prefix) + 1 :]
    return None
