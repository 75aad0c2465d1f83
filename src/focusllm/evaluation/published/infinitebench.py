"""InfiniteBench: twelve tasks of 100K tokens and more.

Source: Zhang and others, arXiv 2402.13718; prompts, limits and data are the user's files, the rules those of the
repository (OpenBMB/InfiniteBench, commit 88b3daa6; MIT) in our own words. Version 1. The protocol "paper" is that of
the FocusLLM authors' code (commit ac695a60).
"""

import re
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from focusllm.errors import InputError
from focusllm.evaluation.published.benchmark import (
    PROTOCOLS,
    PublishedBenchmark,
    PublishedQuestion,
    Subset,
    best_of,
    entry,
)
from focusllm.evaluation.published.files import Fields, found, python_value
from focusllm.evaluation.published.infinitebench_scores import (
    first_digits_are,
    first_value_is,
    function_is,
    last_word_is,
    option_is,
    share_until_wrong,
)
from focusllm.evaluation.published.rouge import rouge_l_sum
from focusllm.evaluation.published.templates import CONTEXT, filled, instruction_behind
from focusllm.evaluation.published.words import f1_of_characters, f1_of_words
from focusllm.evaluation.tasks.scoring import is_a_word_of

Score = Callable[[str], float]
_LETTERS = "ABCD"
_CALL = re.compile(r"(func_[0-9]+)\(-?[0-9]+\)")
_ASKED = re.compile("The .+ of")
# Subsets whose instruction the authors' code moved behind the text, or what follows it, and the limit it shortened.
_MOVED = {
    "passkey": "{input}", "number_string": CONTEXT, "kv_retrieval": CONTEXT, "longbook_choice_eng": CONTEXT,
    "code_debug": CONTEXT,
}  # fmt: skip
_SHORTENED = {"longbook_choice_eng": 6}


def _by_first(rule: Callable[[str, Any], float], kind: Callable[[Any], Any], sample: Fields) -> Score:
    """Score by the first of a sample's answers, read as a kind of value."""
    answer = sample.listed("answer")[0]
    try:
        return partial(_second, rule, kind(answer))
    except (TypeError, ValueError) as error:
        raise InputError(f"{sample.place}: 'answer' must hold a value of {kind.__name__}; got {answer!r}.") from error


def _second(rule: Callable[[str, Any], float], answer: Any, output: str) -> float:
    return rule(output, answer)


def _by_best(rule: Callable[[str, str], float], sample: Fields) -> Score:
    return partial(_best, rule, sample.texts("answer"))


def _best(rule: Callable[[str, str], float], answers: list[str], output: str) -> float:
    return best_of(rule, output, answers)


def _by_option(rule: Callable[[str, str, str], float], sample: Fields) -> Score:
    answer, options = sample.texts("answer")[0], sample.texts("options")
    if answer not in options[: len(_LETTERS)]:
        raise InputError(f"{sample.place}: the answer {answer!r:.80} is none of the options. The data are damaged.")
    letter = _LETTERS[options.index(answer)]
    return lambda output: rule(output, answer, letter)


def _by_list(sample: Fields) -> Score:
    answers = sample.listed("answer")
    values = answers[0] if isinstance(answers[0], list) else answers
    return lambda output: share_until_wrong(output, values)


# Every subset with what scores it.
_SCORES: dict[str, Callable[[Fields], Score]] = {
    "passkey": partial(_by_first, first_digits_are, str),
    "number_string": partial(_by_first, first_digits_are, str),
    "kv_retrieval": partial(_by_first, is_a_word_of, str),
    "longbook_sum_eng": partial(_by_best, rouge_l_sum),
    "longbook_choice_eng": partial(_by_option, option_is),
    "longbook_qa_eng": partial(_by_best, f1_of_words),
    "longbook_qa_chn": partial(_by_best, f1_of_characters),
    "longdialogue_qa_eng": partial(_by_first, lambda output, answer: is_a_word_of(output.upper(), answer), str),
    "math_find": partial(_by_first, first_value_is, float),
    "code_run": partial(_by_first, last_word_is, int),
    "code_debug": partial(_by_option, function_is),
    # It wants room for 30,000 tokens: those whose window has none learn all else before.
    "math_calc": _by_list,
}


class InfiniteBench(PublishedBenchmark):
    """InfiniteBench; its templates are ``yarn_mistral`` by default; see :class:`PublishedBenchmark`."""

    name = "infinitebench"
    protocols = PROTOCOLS
    has_templates = True

    def __init__(
        self, folder: Path, protocol: str = "official", templates: str | None = None, reasons: bool = False
    ) -> None:
        super().__init__(folder, protocol, templates, reasons)
        self._set = templates or "yarn_mistral"
        self._prompts = found(folder, ["src/prompt.py"], "prompt file")
        self._limits = found(folder, ["src/eval_utils.py"], "file of limits")
        self._templates = python_value(self._prompts, f"{self._set}_templates")
        self._max_new_tokens = python_value(self._limits, "DATA_NAME_TO_MAX_NEW_TOKENS")

    @property
    def prompt_files(self) -> tuple[Path, ...]:
        """The files that templates and limits were read from."""
        return self._prompts, self._limits

    @property
    def subset_names(self) -> tuple[str, ...]:
        """All subsets; the one with the longest answers last."""
        return tuple(_SCORES)

    @property
    def header(self) -> dict[str, Any]:
        """The set of templates."""
        return {"templates": self._set}

    def places(self, subset: str) -> tuple[str, ...]:
        """Return where in the folder the data of a subset may be."""
        return tuple(f"{place}{subset}.jsonl" for place in ("data/InfiniteBench/", "data/", ""))

    def subset(self, subset: str, path: Path) -> Subset:
        """Return a subset whose data are at a path."""
        template = entry(self._templates, subset, self._prompts, str)
        limit = entry(self._max_new_tokens, subset, self._limits, int)
        if self.is_paper and subset in _SHORTENED:
            limit = _SHORTENED[subset]
        if self.is_paper and subset in _MOVED:
            template = instruction_behind(template, _MOVED[subset])
        return Subset(subset, path, limit, partial(self._question, subset, template))

    def _question(self, subset: str, template: str, sample: Fields) -> PublishedQuestion:
        asked = sample.text("input")
        values = {"context": sample.text("context"), "input": asked, "question": asked, **self._own(subset, sample)}
        answers = tuple(map(str, sample.listed("answer")))
        return PublishedQuestion(filled(template, values), answers, _SCORES[subset](sample))

    def _own(self, subset: str, sample: Fields) -> dict[str, str]:
        """Return what templates of some subsets ask for besides."""
        if subset in ("longbook_choice_eng", "code_debug"):
            return {f"OPTION_{letter}": text for letter, text in zip(_LETTERS, sample.texts("options"), strict=False)}
        if subset == "code_run":
            call = _matched(_CALL, sample)
            return {"func": call[1], "func_call": call[0]}
        if subset == "math_find":
            words = _matched(_ASKED, sample)[0].lower().removesuffix(" of")
            return {"prefix": filled(self._prefix, {"target_number": words})}
        return {}

    @cached_property
    def _prefix(self) -> str:
        return python_value(self._limits, "prefix")


def _matched(pattern: re.Pattern[str], sample: Fields) -> re.Match[str]:
    text = sample.text("input")
    if (match := pattern.search(text)) is None:
        raise InputError(f"{sample.place}: the field 'input' must hold {pattern.pattern!r}; got {text!r:.80}.")
    return match
