"""Generators: needles are there once, oracles that read the text are right, empty answers wrong, lengths exact."""

import gc
import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any
from weakref import ref

import pytest
from transformers import AutoTokenizer

from focusllm.bundled.model import BASE_PATH
from focusllm.errors import InputError
from focusllm.evaluation.intervals import wilson_interval
from focusllm.evaluation.tasks import facts, haystack
from focusllm.evaluation.tasks.haystack import spread
from focusllm.evaluation.tasks.passkey import FILLER
from focusllm.evaluation.tasks.registry import SUITE, TASKS
from focusllm.evaluation.tasks.sample import EvalSample, Task
from focusllm.evaluation.tasks.scoring import first_number_is, is_a_word_of, last_number_is, share_found
from focusllm.evaluation.tasks.world import NUMBERS, PEOPLE, PLACES
from small_world import story


def test_the_suite_has_tasks_of_every_module_that_has_any() -> None:
    assert len(set(SUITE)) == len(SUITE)
    kinds = {type(TASKS[name]).__module__ for name in SUITE}
    assert kinds == {type(task).__module__ for task in TASKS.values()}


every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def encode(text: str) -> list[int]:
    """Take bytes for tokens: every text has them, and they are there at once."""
    return list(text.encode())


def text_of(sample: EvalSample) -> str:
    return bytes(sample.prompt_ids).decode(errors="replace")


@every_task
@pytest.mark.parametrize("depth", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("num_tokens", [5001, 9003])
def test_lengths_are_exact_and_every_statement_is_there_once(task: Task, depth: float, num_tokens: int) -> None:
    for number in range(8):
        sample = task.draw(encode, num_tokens, depth, f"s/{number}")
        text = text_of(sample)
        assert len(sample.prompt_ids) == num_tokens
        assert text.endswith(sample.question)
        assert all(text.count(statement) == 1 for statement in sample.statements)
        if len(sample.statements) == 1:
            assert abs(text.index(sample.statements[0]) / num_tokens - depth) < 0.3


def the_number(text: str, pattern: str) -> list[str]:
    return [re.findall(pattern, text)[0]]


def key_value(text: str) -> list[str]:
    pairs = json.loads(re.search(r"\{.*\}", text, re.DOTALL).group().replace(",\n}", "}"))  # type: ignore[union-attr]
    return [pairs[re.findall(r'The key is "([^"]+)"', text)[0]]]


def lines(text: str) -> list[str]:
    name = re.findall(r"Which number does line (\S+) hold", text)[0]
    return the_number(text, rf"line {name}: it holds the number (\d+)")


def needles(text: str) -> list[str]:
    asked = re.findall(r"Which magic \w+ of (.+) does the text give", text)[0]
    return [
        value
        for key in re.split(r", | and ", asked)
        for value in re.findall(rf"One magic \w+ of {key} is (\S+)\.\n", text)
    ]


def tracked(text: str) -> list[str]:
    value = re.findall(r"hold the value (\d+) in the end", text)[0]
    values: dict[str, str] = {}
    for name, source in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)\.", text):
        values[name] = values.get(source, source)
    return [name for name, held in values.items() if held == value]


def most_common(text: str, pattern: str, count: int) -> list[str]:
    return [word for word, _ in Counter(re.findall(pattern, text, re.MULTILINE)).most_common(count)]


def order_statistic(text: str) -> list[str]:
    kind = re.findall(r"What is the (.+) number of the list", text)[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)$", text, re.MULTILINE)]
    if kind == "median":
        return [str(sorted(numbers)[len(numbers) // 2])]
    place = next((place for place, word in enumerate(("second", "third"), 1) if kind.startswith(word)), 0)
    assert kind.endswith("distinct") == (place > 0)
    distinct = sorted(set(numbers), reverse="largest" in kind)
    return [str(distinct[place])]


def returned(text: str) -> list[str]:
    bodies = dict(re.findall(r"def (f\d+)\(x\):\n    return (.+)\n", text))
    name, argument = re.findall(r"# What does (f\d+)\((-?\d+)\) return", text)[0]
    value = int(argument)
    while True:
        inner, sign, change = re.fullmatch(r"(.+) ([+-]) (\d+)", bodies[name]).groups()  # type: ignore[union-attr]
        value += int(change) if sign == "+" else -int(change)
        if inner == "x":
            return [str(value)]
        name = inner.removesuffix("(x)")


def lived(text: str) -> list[str]:
    at, holder, trail = story(text)
    question = re.findall(r"\nQuestion: (.+)\nAnswer:", text)[0]
    lead, end = r"(?:Where is|Where is the|Who has the|does|Where was the)", r"(?:\?| have| before)"
    subject = re.findall(rf"{lead} (\w+){end}", question)[0]
    if question.startswith("Who"):
        return [holder[subject]]
    if question.startswith("How many"):
        return [NUMBERS[sum(who == subject for who in holder.values())]]
    if question.startswith("Where was"):
        return [trail[subject][-2]]
    return [at[subject] if subject in at else trail[subject][-1]]


ORACLES: dict[str, Any] = {
    "passkey": lambda text: the_number(text, r"The pass key is (\d+)\. Remember it"),
    "passkey-infinitebench": lambda text: the_number(text, r"The pass key is (\d+)\. Remember it"),
    "number-string": lambda text: the_number(text, r"The sequence of digits is (\d{10})\. Keep"),
    "key-value": key_value,
    "lines": lines,
    **{name: needles for name in TASKS if name.startswith("niah")},
    "variable-tracking": tracked,
    "common-words": lambda text: most_common(text, r"^\d+\. (\S+)$", 10),
    "frequent-words": lambda text: most_common(text, r"\b[a-z]{6}\b(?=[ \n])", 30),
    "math-find": order_statistic,
    "code-run": returned,
    **{name: lived for name in TASKS if name.startswith("world")},
}


@pytest.mark.parametrize("name", [name for name in TASKS if not name.startswith("facts")])
def test_who_reads_the_text_by_rules_answers_right(name: str) -> None:
    """The answers follow from the text alone; words of a lead-in may come first among frequent ones."""
    task = TASKS[name]
    for number in range(25):
        sample = task.draw(encode, 6000, number / 24, f"r/{number}")
        found = ORACLES[name](text_of(sample))
        if name == "frequent-words":
            found = [word for word in found if word not in ("occurs", "coded", "words.")][:3]
        assert sorted(found) == sorted(sample.answers)
        assert task.score(f" {', '.join(found)}\nand more", sample) == 1
        assert len(set(sample.answers)) == len(sample.answers)


@every_task
def test_empty_and_foreign_answers_are_wrong_and_samples_can_be_drawn_again(task: Task) -> None:
    samples = [task.draw(encode, 6000, 0.5, f"s/{number}") for number in range(20)]
    assert all(task.score(f" {sample.answer}\nmore", sample) == 1 for sample in samples)
    assert not any(task.score("", sample) for sample in samples)
    foreign = sum(task.score(f" {other.answer}\n", sample) for sample, other in pairwise(samples))
    # The small world has six places, six people and few numbers.
    assert foreign <= (12 if task.name.startswith("world") else 3)
    assert samples[3] == task.draw(encode, 6000, 0.5, "s/3")


@every_task
def test_a_length_that_cannot_hold_it_is_an_error(task: Task) -> None:
    with pytest.raises(InputError, match=r"needs (at least|more than)"):
        task.draw(encode, 40, 0.5, "s")


class Encoder:
    """Encodes as a model does: by a method of its own."""

    def __init__(self) -> None:
        self.num_characters = 0

    def encode(self, text: str) -> list[int]:
        self.num_characters += len(text)
        return encode(text)


@pytest.mark.parametrize("name", ["facts", "niah-single-2"])
def test_text_is_encoded_once_and_keeps_no_model_alive(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ablation asks one model after the other: those it is done with must be let go of."""
    text = "".join(f"Line {number} of a text.\n" for number in range(1000))
    monkeypatch.setattr(facts, "installation_texts", lambda _: (text,))
    monkeypatch.setattr(haystack, "_evaluation_lines", lambda: text.splitlines(keepends=True))
    encoder = Encoder()
    TASKS[name].draw(encoder.encode, 3000, 0.5, "s/0")
    at_first, encoder.num_characters = encoder.num_characters, 0
    TASKS[name].draw(encoder.encode, 3000, 0.5, "s/0")
    assert 0 < encoder.num_characters < 1000 < at_first
    gone = ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None


def test_the_filler_of_passkeys_is_long() -> None:
    assert text_of(TASKS["passkey"].draw(encode, 3000, 0.5, "r")).count(FILLER) > 20
    assert set(PLACES).isdisjoint(PEOPLE)


def test_functions_asked_for_have_names_like_all_others() -> None:
    for number in range(20):
        sample = TASKS["code-run"].draw(encode, 6000, 0.5, f"s/{number}")
        assert min(map(int, re.findall(r"def f(\d+)", text_of(sample)))) >= 10_000


def test_the_names_of_all_variables_have_room_in_an_answer() -> None:
    task, tokenizer = TASKS["variable-tracking"], AutoTokenizer.from_pretrained(BASE_PATH)
    for number in range(100):
        sample = task.draw(encode, 1000, 0.5, f"s/{number}")
        assert len(tokenizer(f" VAR {', VAR '.join(sample.answers)}").input_ids) < task.max_new_tokens


def test_depths_of_several_needles_are_spread_evenly() -> None:
    assert spread(0.5, 4) == [0.5, 0.75, 0.0, 0.25]
    assert spread(1.0, 1) == [1.0]


def test_scores_follow_the_published_rules() -> None:
    assert first_number_is(" 12345. 777", "12345") == 1
    assert first_number_is("the key: 123456", "12345") == 0
    assert first_number_is("-7", "7") == 0
    assert last_number_is("line 3 holds 42", "42") == 1
    assert last_number_is("42 in line 3", "42") == 0
    assert is_a_word_of('"ab-12", and', "ab-12") == 1
    assert is_a_word_of("ab-123", "ab-12") == 0
    assert share_found("Alpha and GAMMA", ["alpha", "beta", "gamma", "delta"]) == 0.5


@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    [(10, 10, 0.722, 1.0), (50, 50, 0.929, 1.0), (450, 500, 0.871, 0.923), (50, 100, 0.404, 0.596)],
)
def test_wilson_intervals_are_the_published_ones(right: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(right, trials) == pytest.approx((low, high), abs=6e-4)
