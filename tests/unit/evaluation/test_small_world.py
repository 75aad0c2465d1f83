"""The small world: answers in words and sentences are right, none is right by itself, and no question has two."""

import re
from collections import Counter

import pytest

from focusllm.evaluation.tasks.registry import TASKS
from focusllm.evaluation.tasks.sample import EvalSample
from small_world import story


def encode(text: str) -> list[int]:
    return list(text.encode())


def drawn(name: str, number: int) -> EvalSample:
    return TASKS[name].draw(encode, 3000, 0.5, f"s/{number}")


@pytest.mark.parametrize(
    ("kind", "question", "answer", "outputs", "wrong"),
    [
        ("person", "Where is Agnes?", "garden", ("Agnes is in the garden.", "\n**Garden**, Boris"), ("garden, attic",)),
        ("before", "Where was the drum before it came to the attic?", "cellar", ("From cellar to attic",), ("attic",)),
        ("holder", "Who has the drum?", "Boris", ("Boris, in the attic.",), ("Boris and Agnes",)),
        ("count", "How many things does Agnes have?", "two", ("2", "Agnes has two things."), ("2 or 3", "12", "one")),
        ("count", "How many things does Agnes have?", "none", ("0", "zero", "Agnes has no things", "None"), ("1",)),
    ],
)  # fmt: skip
def test_the_small_world_is_answered_in_words_and_in_sentences(
    kind: str, question: str, answer: str, outputs: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    task = TASKS[f"world-{kind}"]
    sample = EvalSample([], (), f"Question: {question}\nAnswer:", (answer,), 0.0, "s")
    assert [task.score(output, sample) for output in outputs] == [1] * len(outputs)
    assert [task.score(output, sample) for output in wrong] == [0] * len(wrong)


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("world")])
def test_no_answer_about_the_small_world_is_right_most_of_the_time(name: str) -> None:
    answers = Counter(drawn(name, number).answer for number in range(100))
    assert max(answers.values()) < 50


def test_where_a_thing_was_before_is_one_place() -> None:
    """What has been in a place twice came there from two places."""
    for number in range(100):
        text = bytes(drawn("world-before", number).prompt_ids).decode()
        [thing, last] = re.findall(r"Where was the (\w+) before it came to the (\w+)\?", text)[0]
        assert story(text)[2][thing].count(last) == 1
