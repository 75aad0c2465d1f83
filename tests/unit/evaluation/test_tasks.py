"""Generators: the needle is there once, an oracle is right, an empty answer is wrong, lengths are exact."""

import re

import pytest

from focusllm.errors import InputError
from focusllm.evaluation.intervals import wilson_interval
from focusllm.evaluation.tasks.passkey import FILLER, Passkey
from focusllm.evaluation.tasks.registry import TASKS
from tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def encode(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("depth", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("num_tokens", [700, 5003])
def test_lengths_are_exact_and_the_statement_is_there_once(task: object, depth: float, num_tokens: int) -> None:
    for number in range(20):
        sample = task.draw(encode, num_tokens, depth, f"s/{number}")  # type: ignore[attr-defined]
        text = TOKENIZER.decode(sample.prompt_ids)
        assert len(sample.prompt_ids) == num_tokens
        assert text.count(sample.statement) == 1
        assert text.endswith(sample.question)
        assert sample.answer in sample.statement
        place = text.index(sample.statement) / num_tokens
        assert abs(place - depth) < 0.3


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_oracle_empty_and_repeated(task: object) -> None:
    samples = [task.draw(encode, 800, 0.5, f"s/{number}") for number in range(50)]  # type: ignore[attr-defined]
    assert all(task.is_right(f" {sample.answer}\nmore", sample.answer) for sample in samples)  # type: ignore[attr-defined]
    assert not any(task.is_right("", sample.answer) for sample in samples)  # type: ignore[attr-defined]
    assert not any(task.is_right(" 1 2 3", sample.answer) for sample in samples)  # type: ignore[attr-defined]
    assert samples[3] == task.draw(encode, 800, 0.5, "s/3")  # type: ignore[attr-defined]
    assert len({sample.answer for sample in samples}) > 40


def test_the_passkey_can_be_read_by_a_rule() -> None:
    for number in range(50):
        sample = Passkey().draw(encode, 3000, number / 49, f"r/{number}")
        text = TOKENIZER.decode(sample.prompt_ids)
        found = re.findall(r"The pass key is (\d+)\. Remember it", text)
        assert found == [sample.answer]
        assert text.count(FILLER) > 20


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_length_that_cannot_hold_it_is_an_error(task: object) -> None:
    with pytest.raises(InputError, match="needs at least"):
        task.draw(encode, 40, 0.5, "s")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    [(10, 10, 0.722, 1.0), (50, 50, 0.929, 1.0), (450, 500, 0.871, 0.923), (50, 100, 0.404, 0.596)],
)
def test_wilson_intervals_are_the_published_ones(right: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(right, trials) == pytest.approx((low, high), abs=6e-4)
