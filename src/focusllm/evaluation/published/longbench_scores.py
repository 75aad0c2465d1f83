"""The scorers of LongBench. Source: the rules of its ``metrics.py`` (commit 2e00731f) in our own words."""

import difflib
import re
from collections.abc import Callable, Sequence

from focusllm.errors import InputError, MissingDependencyError
from focusllm.evaluation.published.rouge import rouge_l
from focusllm.evaluation.published.words import chinese_words

# What the benchmark takes for comments and fences, not code.
_NO_CODE = ("`", "#", "//")


def first_line(output: str) -> str:
    """Return the first line, line breaks before it passed over."""
    return output.lstrip("\n").split("\n")[0]


def share_of_numbers(output: str, number: str) -> float:
    """Return the share of an output's numbers that are the right one."""
    numbers = re.findall(r"\d+", output)
    return numbers.count(number) / len(numbers) if numbers else 0.0


def paragraph_rule(label: str) -> Callable[[str, str], float]:
    """Return the rule that looks for the number of a paragraph; answers name it behind a label."""

    def rule(output: str, answer: str) -> float:
        named = re.findall(rf"{label}(\d+)", answer)
        if not named:
            raise InputError(f"An answer must be a number behind {label!r}; got {answer!r}. The data are damaged.")
        return share_of_numbers(output, named[0])

    return rule


def class_share(output: str, answer: str, classes: Sequence[str]) -> float:
    """Return 1 over the number of classes that an output names, if the right one is among them.

    A class whose name is part of the right one's does not count; of several such in a row, as in the original, every
    other one does.
    """
    named = [name for name in classes if name in output]
    place = 0
    while place < len(named):
        if named[place] in answer and named[place] != answer:
            # The first of its kind goes, and the one that moves up is passed over.
            named.remove(named[place])
        place += 1
    return 1 / len(named) if answer in named else 0.0


def rouge_of_chinese(output: str, answer: str) -> float:
    """Return ROUGE-L of the words that jieba finds.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    return rouge_l(" ".join(chinese_words(output)), " ".join(chinese_words(answer)))


def code_rule(ratio: Callable[[str, str], float]) -> Callable[[str, str], float]:
    """Return the rule that compares the first line of code with the right one."""

    def rule(output: str, answer: str) -> float:
        lines = output.lstrip("\n").split("\n")
        line = next((line for line in lines if not any(mark in line for mark in _NO_CODE)), "")
        return round(100 * ratio(line, answer)) / 100

    return rule


def block_ratio(left: str, right: str) -> float:
    """Compare texts as fuzzywuzzy does by itself: by difflib's matching blocks."""
    if left == right:
        return 1.0
    return difflib.SequenceMatcher(None, left, right).ratio() if left and right else 0.0


def edit_ratio(left: str, right: str) -> float:
    """Compare texts as fuzzywuzzy does where python-Levenshtein is installed: by insertions and deletions.

    Raises:
        MissingDependencyError: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import Indel
    except ImportError as error:
        raise MissingDependencyError(
            "Code subsets by the paper need rapidfuzz: pip install 'focusllm[eval]'."
        ) from error
    return Indel.normalized_similarity(left, right)
