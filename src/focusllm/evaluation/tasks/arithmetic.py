"""Math find and code run: an answer that must be worked out.

Source: InfiniteBench (arXiv 2402.13718), "Math.Find" and "Code.Run". Generated here by their descriptions; the wording
is ours. MIT. Version 2.
"""

from dataclasses import dataclass

from focusllm.errors import InputError
from focusllm.evaluation.tasks.haystack import line_breaks, other_needles, put_together, spread
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import first_number_is

# In a long list most numbers are there more than once: the second largest number could be the largest again.
_LARGEST = ("largest", "second largest distinct", "third largest distinct")
_SMALLEST = ("smallest", "second smallest distinct", "third smallest distinct")
# Numbers of functions, those asked for and all others: no name is to stand out.
_NAMES = range(10_000, 10_000_000)


@dataclass(frozen=True)
class MathFind:
    """One of seven order statistics of a long list of numbers."""

    name: str = "math-find"
    version: int = 2
    max_new_tokens: int = 6
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; there is no depth in it.

        The range of the numbers is drawn, so that the answer is not the same in every long list. Line breaks before the
        question fill what the last number leaves.

        Raises:
            InputError: The length cannot hold five numbers and the question.
        """
        rng = rng_of(seed)
        low = rng.randint(0, 300)
        high = low + rng.randint(100, 600)
        kind = rng.choice((*_LARGEST, *_SMALLEST, "median"))
        lead = encode("Below is a long list of numbers, one a line.\n\n")
        text = f"\nWhat is the {kind} number of the list? It is"
        question = encode(text)
        room = num_tokens - len(lead) - len(question)
        numbers: list[int] = []
        ids: list[int] = []
        while True:
            number = rng.randint(low, high)
            added = encode(f"{number}\n")
            if len(ids) + len(added) > room:
                break
            ids += added
            numbers.append(number)
        if len(numbers) % 2 == 0:
            # The median of an even count would be none of the numbers.
            ids = ids[: len(ids) - len(encode(f"{numbers.pop()}\n"))] if numbers else ids
        if len(numbers) < 5:
            raise InputError(f"A {self.name} sample needs more than {num_tokens} tokens.")
        rest = line_breaks(encode, room - len(ids))
        return EvalSample([*lead, *ids, *rest, *question], (), text, (_found(kind, numbers),), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the first number of the output with the answer."""
        return first_number_is(output, sample.answer)


def _found(kind: str, numbers: list[int]) -> str:
    if kind == "median":
        return str(sorted(numbers)[len(numbers) // 2])
    distinct = sorted(set(numbers))
    place = _LARGEST.index(kind) if kind in _LARGEST else _SMALLEST.index(kind)
    return str(distinct[-1 - place] if kind in _LARGEST else distinct[place])


@dataclass(frozen=True)
class CodeRun:
    """What a function returns that calls another, that calls another, among many.

    Attributes:
        num_calls: How many functions call one another.
    """

    name: str = "code-run"
    num_calls: int = 3
    version: int = 2
    max_new_tokens: int = 8
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the function called stands at the depth.

        Raises:
            InputError: The length cannot hold the functions and the question.
        """
        rng = rng_of(seed)
        names = rng.sample(_NAMES, self.num_calls)
        changes = [rng.randint(-12, 17) for _ in names]
        statements = [
            _function(name, f"f{inner}(x)" if inner is not None else "x", change)
            for name, inner, change in zip(names, [*names[1:], None], changes, strict=True)
        ]
        argument = rng.randint(-10, 10)
        text = f"\n# What does f{names[0]}({argument}) return?\n# f{names[0]}({argument}) ="

        def line_of(name: int) -> str:
            # Others call others: that they call one of those asked for hardly ever happens, and changes no answer.
            inner = f"f{rng.choice(_NAMES)}(x)" if rng.random() < 0.7 else "x"
            return _function(name, inner, rng.randint(-12, 17))

        filler = other_needles(encode, set(names), lambda: rng.choice(_NAMES), line_of)
        needles = list(zip(spread(depth, len(statements)), statements, strict=True))
        parts = ("# Many small functions.\n\n", text)
        prompt = put_together(encode, num_tokens, self.name, parts, needles, filler)
        told = tuple(statement.strip() for statement in statements)
        return EvalSample(prompt, told, text, (str(argument + sum(changes)),), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the first number of the output with what the function returns."""
        return first_number_is(output, sample.answer)


def _function(name: int, inner: str, change: int) -> str:
    return f"def f{name}(x):\n    return {inner} {'+' if change >= 0 else '-'} {abs(change)}\n\n"
