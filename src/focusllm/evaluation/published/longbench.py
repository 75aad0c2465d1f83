"""LongBench: 21 tasks in English, Chinese and code, and LongBench-E, 13 of them in three ranges of length.

Source: Bai and others, arXiv 2308.14508; prompts, limits and data are the user's files, the rules those of the
repository (THUDM/LongBench, commit 2e00731f; MIT) in our own words. Version 1. The protocol "paper" is that of the
FocusLLM authors' code (commit ac695a60).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from focusllm.evaluation.published.benchmark import (
    PROTOCOLS,
    PublishedBenchmark,
    PublishedQuestion,
    Subset,
    best_of,
    entry,
)
from focusllm.evaluation.published.files import Fields, found, json_of
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
from focusllm.evaluation.published.rouge import rouge_l
from focusllm.evaluation.published.templates import filled, instruction_behind
from focusllm.evaluation.published.words import f1_of_chinese_words, f1_of_words

Rule = Callable[[str, str], float]
# Every subset with the rule that scores it; those without one here are scored by classes or as code.
_RULES: dict[str, Rule | None] = {
    "narrativeqa": f1_of_words,
    "qasper": f1_of_words,
    "multifieldqa_en": f1_of_words,
    "multifieldqa_zh": f1_of_chinese_words,
    "hotpotqa": f1_of_words,
    "2wikimqa": f1_of_words,
    "musique": f1_of_words,
    "dureader": rouge_of_chinese,
    "gov_report": rouge_l,
    "qmsum": rouge_l,
    "multi_news": rouge_l,
    "vcsum": rouge_of_chinese,
    "trec": None,
    "triviaqa": f1_of_words,
    "samsum": rouge_l,
    "lsht": None,
    "passage_count": share_of_numbers,
    "passage_retrieval_en": paragraph_rule("Paragraph "),
    "passage_retrieval_zh": paragraph_rule("段落"),
    "lcc": None,
    "repobench-p": None,
}
_BY_CLASSES = ("trec", "lsht")
_CODE = ("lcc", "repobench-p")
_FIRST_LINE = ("trec", "triviaqa", "samsum", "lsht")
# The official script leaves these outside a chat template.
_BARE = ("trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p")
# Subsets whose instruction the authors' code moved behind the text, and whether it dropped the paragraph that followed.
_MOVED = {"gov_report": False, "qmsum": False, "multi_news": True}
_ENDS_AT_LINE = {
    "official": ("samsum",),
    "paper": ("2wikimqa", "hotpotqa", "musique", "multifieldqa_en", "qasper", "narrativeqa", "samsum"),
}


class LongBench(PublishedBenchmark):
    """The 21 tasks; see :class:`PublishedBenchmark`."""

    name = "longbench"
    protocols = PROTOCOLS
    suffix = ""

    def __init__(
        self, folder: Path, protocol: str = "official", templates: str | None = None, reasons: bool = False
    ) -> None:
        super().__init__(folder, protocol, templates, reasons)
        names = ("dataset2prompt.json", "dataset2maxlen.json")
        places = [[f"{place}config/{name}" for place in ("", "LongBench/")] for name in names]
        self._prompts, self._limits = (found(folder, place, "prompt file") for place in places)
        self._templates, self._max_new_tokens = json_of(self._prompts), json_of(self._limits)

    @property
    def prompt_files(self) -> tuple[Path, ...]:
        """The files that templates and limits were read from."""
        return self._prompts, self._limits

    @property
    def subset_names(self) -> tuple[str, ...]:
        """All subsets, in the benchmark's order."""
        return tuple(_RULES)

    def places(self, subset: str) -> tuple[str, ...]:
        """Return where in the folder the data of a subset may be."""
        return tuple(f"{place}{subset}{self.suffix}.jsonl" for place in ("data/", "LongBench/data/", ""))

    def subset(self, subset: str, path: Path) -> Subset:
        """Return a subset whose data are at a path."""
        template = entry(self._templates, subset, self._prompts, str)
        if self.is_paper and subset in _MOVED:
            template = instruction_behind(template, without_next=_MOVED[subset])
        ends_at_line = subset in _ENDS_AT_LINE[self.protocol]
        return Subset(
            subset,
            path,
            entry(self._max_new_tokens, subset, self._limits, int),
            partial(self._question, subset, template),
            stops=("\n",) if ends_at_line else (),
            min_new_tokens=int(ends_at_line and not self.is_paper),
            is_bare=subset in _BARE and not self.is_paper,
        )

    def _question(self, subset: str, template: str, sample: Fields) -> PublishedQuestion:
        prompt = filled(template, {"context": sample.text("context"), "input": sample.text("input")})
        answers, rule = sample.texts("answers"), self._rule(subset, sample)

        def score(output: str) -> float:
            return best_of(rule, first_line(output) if subset in _FIRST_LINE else output, answers)

        return PublishedQuestion(prompt, tuple(answers), score, self._groups(subset, sample))

    def _rule(self, subset: str, sample: Fields) -> Rule:
        if subset in _BY_CLASSES:
            return partial(class_share, classes=sample.texts("all_classes"))
        if subset in _CODE:
            return code_rule(edit_ratio if self.is_paper else block_ratio)
        rule = _RULES[subset]
        assert rule is not None  # the table has one for all others
        return rule

    def _groups(self, subset: str, sample: Fields) -> tuple[str, ...]:
        return ()


class LongBenchE(LongBench):
    """The 13 tasks in three ranges of length, in words; see :class:`PublishedBenchmark`."""

    name = "longbench-e"
    suffix = "_e"

    @property
    def subset_names(self) -> tuple[str, ...]:
        """All subsets, in the benchmark's order."""
        left_out = ("narrativeqa", "musique", "qmsum", "dureader", "vcsum", "lsht")
        return tuple(name for name in _RULES if name not in left_out and not name.endswith("_zh"))

    def _groups(self, subset: str, sample: Fields) -> tuple[str, ...]:
        length = sample.number("length")
        return (f"{subset}, {'0-4k' if length < 4000 else '4-8k' if length < 8000 else '8k+'}",)
