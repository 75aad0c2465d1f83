"""Common words and frequent words: what occurs most often in a long list.

Source: RULER (arXiv 2404.06654), "cwe" and "fwe". Generated here by its description; the wording is ours. MIT.
Version 1. The lists are as long as the length allows; line breaks before the question fill the rest.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from focusllm.bundled.text import installation_words
from focusllm.evaluation.tasks.haystack import check_room, line_breaks
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import share_found


@dataclass(frozen=True)
class CommonWords:
    """Ten words occur ten times as often as all others.

    Attributes:
        common: How often each of the ten words occurs.
        others: How often each other one does.
    """

    name: str = "common-words"
    common: int = 30
    others: int = 3
    version: int = 1
    max_new_tokens: int = 120
    stays_right: bool = True

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; there is no depth in it.

        Raises:
            InputError: The length cannot hold the list of the ten words and the question.
        """
        rng = rng_of(seed)
        words = _new_words(rng, 10)

        def listed(num_others: int) -> str:
            # Each size is drawn from the same seed: a larger one only has more words.
            generator = rng_of(f"{seed}/others")
            others = _new_words(generator, num_others, set(words))
            entries = words * self.common + others * self.others
            generator.shuffle(entries)
            return "".join(f"{number}. {word}\n" for number, word in enumerate(entries, 1))

        lead = "Below is a numbered list of words. Ten of them occur far more often than the others.\n\n"
        question = "\nWhich are the ten words that occur most often? They are"
        # An entry has a number, a point, a word and a line break.
        prompt = _fitted(encode, num_tokens, self.name, (lead, question), listed, 4 * self.others)
        return EvalSample(prompt, (), question, tuple(words), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Return the share of the ten words that the output holds."""
        return share_found(output, sample.answers)


@dataclass(frozen=True)
class FrequentWords:
    """Coded words whose frequencies fall as Zipf's law has it; the three most frequent are asked for.

    Attributes:
        exponent: Of the law.
    """

    name: str = "frequent-words"
    exponent: float = 2.0
    version: int = 1
    max_new_tokens: int = 50
    stays_right: bool = True

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; there is no depth in it.

        Raises:
            InputError: The length cannot hold a list in which the three words stand out, and the question.
        """
        rng = rng_of(seed)
        vocabulary = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(max(num_tokens // 50, 12))]

        def listed(size: int) -> str:
            # Enough for the third word to be ahead of the fourth.
            size += 40
            entries = [
                word for rank, word in enumerate(vocabulary, 1) for _ in range(round(size * rank**-self.exponent))
            ]
            rng_of(f"{seed}/order").shuffle(entries)
            return " ".join(entries) + "\n"

        lead = "Read this text of coded words and count how often each occurs.\n\n"
        question = "\nWhich three coded words occur most often? They are"
        prompt = _fitted(encode, num_tokens, self.name, (lead, question), listed, 1)
        return EvalSample(prompt, (), question, tuple(vocabulary[:3]), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Return the share of the three words that the output holds."""
        return share_found(output, sample.answers)


def _new_words(rng: random.Random, count: int, used: set[str] | None = None) -> list[str]:
    """Draw distinct words; where there are not enough, pairs of them."""
    words = installation_words("evaluation")
    found: dict[str, None] = {}
    while len(found) < count:
        word = rng.choice(words) if len(found) < len(words) // 2 else f"{rng.choice(words)}-{rng.choice(words)}"
        if word not in (used or ()):
            found[word] = None
    return list(found)


def _fitted(
    encode: Encode, num_tokens: int, name: str, parts: tuple[str, str], make: Callable[[int], str], least: int
) -> list[int]:
    """Find the longest list that fits, by halving, and fill up with line breaks; ``least``: tokens a unit takes."""
    lead, question = map(encode, parts)
    room = num_tokens - len(lead) - len(question)
    smallest = len(encode(make(0)))
    check_room(name, num_tokens, room - smallest)
    low, high = 0, room // least
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(encode(make(middle))) <= room else (low, middle - 1)
    ids = encode(make(low))
    return [*lead, *ids, *line_breaks(encode, room - len(ids)), *question]
