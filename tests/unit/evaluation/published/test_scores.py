"""Scorers of published benchmarks: cases worked out by hand, and thousands of pairs held to the rules others copied."""

import importlib.util
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from focusllm.errors import InputError
from focusllm.evaluation.published.babilong import names_only
from focusllm.evaluation.published.infinitebench_scores import (
    first_digits_are,
    first_value_is,
    function_is,
    last_word_is,
    option_is,
    share_until_wrong,
)
from focusllm.evaluation.published.longbench_scores import (
    block_ratio,
    class_share,
    code_rule,
    edit_ratio,
    first_line,
    paragraph_rule,
    rouge_of_chinese,
    share_of_numbers,
)
from focusllm.evaluation.published.longbench_v2 import chosen_letter
from focusllm.evaluation.published.rouge import rouge_l, rouge_l_sum
from focusllm.evaluation.published.words import f1_of_characters, f1_of_chinese_words, f1_of_words
from focusllm.evaluation.tasks.scoring import is_a_word_of

LISTED = (
    "The a an The answer is: answer is answer: option Option A B C D A. B: (C) D, AB BCD Because Alice func_one func 7 "
    "42 007 -3 3.5 12345 , . ! ? - * ' \" ` { } : # // cat sat mat hat state-of-the-art Paragraph None yes no 1e5 ²"
)
WORDS = tuple(LISTED.split())
CHINESE = "我们的天气很好，今天去公园。文章《标题》说：真的？第12段落3 abc The"  # noqa: RUF001
CODE = ("def f(x):", "    return x+1", "# c", "`x`", "```python", "// c", "x = [1, 2]", "print('a')", "return x + 2")
CLASSES = ("a", "ab", "abc", "abcd", "bcd", "Number", "Number of people", "people", "x y")
Draw = Callable[[random.Random], tuple[Any, ...]]


def text(rng: random.Random, most: int = 12, words: tuple[str, ...] | list[str] = WORDS) -> str:
    return rng.choice([" ", " ", "", "\n"]).join(rng.choices(words, k=rng.randint(0, most)))


def chinese(rng: random.Random) -> str:
    return "".join(rng.choices(CHINESE, k=rng.randint(0, 30)))


def code(rng: random.Random) -> str:
    return "\n" * rng.randint(0, 2) + "\n".join(rng.choices(CODE, k=rng.randint(1, 5)))


def line(rng: random.Random) -> str:
    return "".join(letter for letter in rng.choice(CODE) if rng.random() > 0.2) + rng.choice(["", "y", " z"])


def copied(name: str) -> Any:
    """Load a file of rules out of lm_eval by its path: the package itself would load far more."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        pytest.skip("lm_eval is not installed")
    path = Path(next(iter(found.submodule_search_locations))) / "tasks" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # fuzzywuzzy warns that it works by itself: that is what is wanted of it.
        warnings.simplefilter("ignore")
        for needed in ("jieba", "fuzzywuzzy.fuzz", "rouge"):
            pytest.importorskip(needed)
        spec.loader.exec_module(module)
    return module


def hold(ours: Callable[..., float], theirs: Callable[..., float], draw: Draw, count: int = 10_000) -> None:
    """Hold a rule to another on drawn pairs, of which enough must score more than nothing."""
    rng = random.Random(5)
    above = 0
    for _ in range(count):
        pair = draw(rng)
        wanted = float(theirs(*pair))
        assert float(ours(*pair)) == pytest.approx(wanted, abs=1e-12), pair
        above += wanted > 0
    assert above > count / 60


LONGBENCH: dict[str, tuple[Callable[..., float], Draw, int]] = {
    "qa_f1_score": (f1_of_words, lambda rng: (text(rng), text(rng)), 10_000),
    "qa_f1_zh_score": (f1_of_chinese_words, lambda rng: (chinese(rng), chinese(rng)), 1_500),
    "rouge_score": (rouge_l, lambda rng: (text(rng, 20), text(rng, 20)), 10_000),
    "rouge_zh_score": (rouge_of_chinese, lambda rng: (chinese(rng), chinese(rng)), 1_500),
    "count_score": (share_of_numbers, lambda rng: (text(rng), rng.choice(("7", "42", "007"))), 10_000),
    "retrieval_score": (
        paragraph_rule("Paragraph "),
        lambda rng: (text(rng), f"Paragraph {rng.choice((7, 42, 3))}"),
        10_000,
    ),
    "retrieval_zh_score": (
        paragraph_rule("段落"),
        lambda rng: (chinese(rng) + text(rng), f"段落{rng.choice((7, 42, 3))}"),
        10_000,
    ),
    # Where a line is blank, lm_eval passes it over and LongBench compares it; here none is, behind the first breaks.
    "code_sim_score": (code_rule(block_ratio), lambda rng: (code(rng), line(rng)), 10_000),
}


@pytest.mark.parametrize("name", LONGBENCH)
def test_longbench_rules_are_the_official_ones(name: str) -> None:
    rules = copied("longbench/metrics.py")
    if name == "code_sim_score" and rules.fuzz.SequenceMatcher.__module__ != "difflib":
        pytest.skip("python-Levenshtein is installed: fuzzywuzzy compares as edit_ratio does")
    ours, draw, count = LONGBENCH[name]
    hold(ours, getattr(rules, name), draw, count)


def test_the_rule_of_classes_is_the_official_one() -> None:
    """Also where classes contain one another, and the original passes every other one over."""

    def draw(rng: random.Random) -> tuple[str, str, list[str]]:
        classes = rng.sample(CLASSES, rng.randint(2, 9))
        return text(rng, 4, [*CLASSES, " "]), rng.choice(classes), classes

    theirs = copied("longbench/metrics.py").classification_score
    hold(class_share, lambda output, answer, classes: theirs(output, answer, all_classes=classes), draw)


def doc_rule(name: str) -> Callable[[str, Any], float]:
    rule = getattr(copied("infinitebench/utils.py"), name)
    return lambda output, answer: rule({"answer": [str(answer)]}, [output])["score"]


# lm_eval drops articles before punctuation, and forgets the curly quotes: texts here have none where it matters.
PLAIN = tuple(word for word in WORDS if word.lower() not in ("a", "an", "the", "a.") and "-the-" not in word)
INFINITEBENCH: dict[str, tuple[Callable[..., float], Draw]] = {
    "process_results_int_match": (first_digits_are, lambda rng: (text(rng), rng.choice(("7", "42", "007")))),
    "process_results_kv": (is_a_word_of, lambda rng: (text(rng), rng.choice(("7", "cat", "func", "1e5")))),
    "process_results_math": (first_value_is, lambda rng: (text(rng), rng.choice((7, 42, 3.5)))),
    "process_results_code_run": (
        last_word_is,
        lambda rng: (text(rng) + rng.choice(("", " 7", " -3.", " 4_2")), rng.choice((7, 42, -3))),
    ),
    "process_results_qa_en": (f1_of_words, lambda rng: (" ".join(rng.choices(PLAIN, k=6)), " ".join(PLAIN[:9]))),
    "process_results_qa_chn": (f1_of_characters, lambda rng: (chinese(rng), chinese(rng))),
}


@pytest.mark.parametrize("name", INFINITEBENCH)
def test_infinitebench_rules_are_those_lm_eval_shares(name: str) -> None:
    ours, draw = INFINITEBENCH[name]
    hold(ours, doc_rule(name), draw)


def test_rouge_l_sum_is_that_of_rouge_score() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeLsum"])
    hold(
        rouge_l_sum,
        lambda output, answer: scorer.score(answer, output)["rougeLsum"].fmeasure,
        lambda rng: (text(rng, 20), text(rng, 20)),
        3_000,
    )


def test_edit_ratio_is_two_matches_over_both_lengths() -> None:
    """Held to the longest common subsequence, computed the slow way."""

    def common(left: str, right: str) -> int:
        rows = [[0] * (len(right) + 1)]
        for letter in left:
            row = [0]
            for place, other in enumerate(right):
                row.append(rows[-1][place] + 1 if letter == other else max(rows[-1][place + 1], row[place]))
            rows.append(row)
        return rows[-1][-1]

    def slow(left: str, right: str) -> float:
        return 1.0 if left == right else 2 * common(left, right) / (len(left) + len(right))

    hold(edit_ratio, slow, lambda rng: (line(rng), line(rng)), 1_000)


def test_f1_and_rouge_by_hand() -> None:
    assert f1_of_words("The cat, a black one.", "black cat") == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert f1_of_words("", "cat") == 0
    assert f1_of_characters("天气好。", "好天气") == 1
    # Sets of words: "b" twice counts once; the sentence between two points has none.
    assert rouge_l("a b c", "a c d") == pytest.approx(2 / 3, abs=1e-7)
    assert rouge_l("", "a") == rouge_l("...", "a") == rouge_l("a", "") == 0
    assert rouge_l_sum("the cat\nsat", "The cat sat") == 1


def test_long_texts_have_a_score() -> None:
    """The original's recursion ends in an error there, which it takes for a score of nothing."""
    words = [f"w{number}" for number in range(1500)]
    assert rouge_l(" ".join(words), " ".join(words[:750])) == pytest.approx(2 / 3, abs=1e-6)
    assert rouge_l_sum(" ".join(words), " ".join(words[:750])) == pytest.approx(2 / 3)


def test_longbench_rules_by_hand() -> None:
    assert share_of_numbers("7 or 8", "7") == 0.5
    assert paragraph_rule("Paragraph ")("It is 15.", "Paragraph 15") == 1
    with pytest.raises(InputError, match="a number behind 'Paragraph '"):
        paragraph_rule("Paragraph ")("15", "15")
    assert class_share("Location: city", "city", ["city", "country", "Location"]) == 0.5
    # "a" goes, "ab" is passed over, "abc" goes.
    assert class_share("abcd", "abcd", ["a", "ab", "abc", "abcd"]) == 0.5
    assert class_share("nothing", "city", ["city"]) == 0
    assert first_line("\n\n yes\nno") == " yes"
    assert code_rule(block_ratio)("\n# think\n`x`\nreturn x\nmore", "return x") == 1
    # The first line that is code is blank.
    assert code_rule(block_ratio)("# think\n\nreturn x", "return x") == 0
    assert code_rule(block_ratio)("# think", "") == code_rule(edit_ratio)("# think", "") == 1
    # The two ways in which fuzzywuzzy compares.
    assert [code_rule(ratio)("  rturn x +2", "`") for ratio in (block_ratio, edit_ratio)] == [0, 0]
    assert [code_rule(ratio)("for i in range(10):", "  rturn x +2") for ratio in (block_ratio, edit_ratio)] == [
        0.19,
        0.26,
    ]


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("The correct answer is (B).", "B"),
        ("**The correct answer is (C)**", "C"),
        ("The correct answer is D", "D"),
        # The form in brackets comes first, wherever it stands.
        ("The correct answer is A or The correct answer is (B)", "B"),
        ("The answer is (B)", None),
        ("the correct answer is (B)", None),
        ("The correct answer is (E)", None),
    ],
)
def test_the_letter_of_longbench_v2(output: str, letter: str | None) -> None:
    assert chosen_letter(output) == letter


@pytest.mark.parametrize(
    ("output", "score"),
    [
        (" B", 1),
        ("B. Mr Darcy", 1),
        ("Because he was late", 1),
        ("Alice", 0),
        ("Mr Darcy", 1),
        ("the answer is: B", 1),
        ("the answer is  B", 1),
        ("the answer is: Mr Darcy", 1),
        ("I think the answer is C, not B", 0),
        ("it must be B, not C", 1),
        ("it must be BC or B", 0),
        ("it must be (B)", 0),
        ("the answer is", 0),
        ("", 0),
        ("b", 0),
    ],
)
def test_options_of_infinitebench(output: str, score: float) -> None:
    assert option_is(output, "Mr Darcy", "B") == score


@pytest.mark.parametrize(
    ("output", "score"),
    [
        (" B. run", 1),
        ("B: run", 1),
        ("B", 0),
        ("run", 0),
        ("The correct option is: B", 1),
        ("The correct option is: run", 1),
        ("The answer is:\n\n`run`", 1),
        ("The answer is: option B", 1),
        ("The answer is: A", 0),
        ("answer:", 0),
    ],
)
def test_functions_of_infinitebench(output: str, score: float) -> None:
    assert function_is(output, "run", "B") == score


def test_numbers_of_infinitebench() -> None:
    assert first_digits_are("-12345 7", "12345") == 1
    assert first_digits_are("key", "12345") == 0
    # The original ends in an error where a whole number is asked for and one with a point is found.
    assert first_value_is("3.5", 3) == 0
    assert first_value_is("it is 7.0", 7) == 1
    assert last_word_is("func_1(3) is `-7`.", -7) == 1
    assert last_word_is("-7 it is", -7) == last_word_is("", -7) == 0
    assert share_until_wrong("[1, -4, 9, 8]", [1, 4, 8, 8]) == 0.5
    assert share_until_wrong("1" * 5000, [1, 4]) == 0
    assert share_until_wrong("01 4", [1, 4]) == 1


@pytest.mark.parametrize(
    ("output", "is_right"),
    [
        ("The most recent location of Mary is kitchen.", True),
        ("Kitchen. Before that, garden.", True),
        ("kitchen, then garden", False),
        ("kitchen and the office", True),
        ("kitchen\n<example> garden", True),
        ("garden", False),
        ("", False),
    ],
)
def test_labels_of_babilong(output: str, is_right: bool) -> None:
    # "office" is named in the question, so it does not count.
    labels = {"Kitchen", "garden", "office"}
    assert names_only(output, "kitchen", "Where was Mary before the office?", labels) is is_right


@pytest.mark.parametrize(
    ("output", "target", "labels", "is_right"),
    [
        ("None of them.", "none", ("none", "one", "two"), True),
        ("One.", "one", ("none", "one", "two"), True),
        ("One, or none.", "none", ("none", "one", "two"), False),
        ("the milk and the apple", "apple,milk", ("apple", "football", "milk", "nothing"), True),
        ("the apple", "apple,milk", ("apple", "football", "milk", "nothing"), False),
        ("apple, milk, football", "apple,milk", ("apple", "football", "milk", "nothing"), False),
        ("n,w", "n,w", ("n,n", "n,w"), True),
        ("n,n", "n,w", ("n,n", "n,w"), False),
    ],
)
def test_labels_of_babilong_within_others_and_of_several(
    output: str, target: str, labels: tuple[str, ...], is_right: bool
) -> None:
    assert names_only(output, target, "How many things does Mary have?", labels) is is_right
