"""Rules that score outputs, each with the benchmark whose rule it is."""

import re
from collections.abc import Sequence

# What InfiniteBench's key-value rule takes for gaps between words.
_GAPS = re.compile(r"[\n:\"'.,?!{}]")


def first_number_is(output: str, answer: str) -> float:
    """Compare the first run of digits, its sign with it, with a number. Source: InfiniteBench's passkey rule."""
    found = re.search(r"-?\d+", output)
    return float(found is not None and found.group() == answer)


def last_number_is(output: str, answer: str) -> float:
    """Compare the last run of digits with a number. Source: LongEval's rule for lines."""
    found = re.findall(r"\d+", output)
    return float(bool(found) and found[-1] == answer)


def is_a_word_of(output: str, answer: str) -> float:
    """Look for an answer among the words of an output. Source: InfiniteBench's key-value rule."""
    return float(answer in _GAPS.sub(" ", output).split())


def share_found(output: str, answers: Sequence[str]) -> float:
    """Return the share of answers that an output holds, upper or lower case. Source: RULER's ``string_match_all``."""
    return sum(answer.lower() in output.lower() for answer in answers) / len(answers)
