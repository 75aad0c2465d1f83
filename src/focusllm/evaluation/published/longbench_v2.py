"""LongBench v2: 503 questions with four choices about texts of 8K to 2M words.

Source: Bai and others, arXiv 2412.15204; prompt and data are the user's files, the rules those of the repository
(THUDM/LongBench, commit 2e00731f; MIT) in our own words. Version 1.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

from focusllm.evaluation.published.benchmark import PublishedBenchmark, PublishedQuestion, Subset
from focusllm.evaluation.published.files import Fields, found, text_of
from focusllm.evaluation.published.templates import filled

_MAX_NEW_TOKENS = 128
_REASONING_TOKENS = 1024
_PLACEHOLDERS = {
    "DOC": "context", "Q": "question", "C_A": "choice_A", "C_B": "choice_B", "C_C": "choice_C", "C_D": "choice_D",
}  # fmt: skip
_IN_BRACKETS, _PLAIN = (re.compile(rf"The correct answer is {form}") for form in (r"\(([A-D])\)", "([A-D])"))


def chosen_letter(output: str) -> str | None:
    """Return the letter an output says is the correct answer; ``None`` where it says none."""
    text = output.replace("*", "")
    said = _IN_BRACKETS.search(text) or _PLAIN.search(text)
    return said and said[1]


class LongBenchV2(PublishedBenchmark):
    """LongBench v2; see :class:`PublishedBenchmark`."""

    name = "longbench-v2"
    has_reasoning = True

    def __init__(
        self, folder: Path, protocol: str = "official", templates: str | None = None, reasons: bool = False
    ) -> None:
        super().__init__(folder, protocol, templates, reasons)
        names = ("0shot_cot", "0shot_cot_ans") if reasons else ("0shot",)
        self._prompts = tuple(found(folder, [f"prompts/{name}.txt"], "prompt file") for name in names)
        self._templates = tuple(map(text_of, self._prompts))

    @property
    def prompt_files(self) -> tuple[Path, ...]:
        """The files of the templates: one, or that which asks for reasoning and that which asks for the answer."""
        return self._prompts

    @property
    def header(self) -> dict[str, Any]:
        """Whether reasoning comes before the answer."""
        return {"reasoning": True} if len(self._prompts) > 1 else {}

    @property
    def subset_names(self) -> tuple[str, ...]:
        """The only subset: all questions."""
        return ("all",)

    def places(self, subset: str) -> tuple[str, ...]:
        """Return where in the folder the data may be."""
        return "data.json", "data/data.json", "data.jsonl", "data/data.jsonl"

    def subset(self, subset: str, path: Path) -> Subset:
        """Return all questions."""
        question = partial(_question, self._templates)
        return Subset(subset, path, _MAX_NEW_TOKENS, question, reasoning_tokens=_REASONING_TOKENS)


def _question(templates: tuple[str, ...], sample: Fields) -> PublishedQuestion:
    values = {name: sample.text(field).strip() for name, field in _PLACEHOLDERS.items()}
    answer = sample.text("answer")

    def ask(reasoning: str) -> str:
        return filled(templates[-1], {**values, "COT": reasoning.strip()}, in_dollars=True)

    return PublishedQuestion(
        filled(templates[0], values, in_dollars=True),
        (answer,),
        lambda output: float(chosen_letter(output) == answer),
        (sample.text("difficulty"), sample.text("length")),
        ask if len(templates) > 1 else None,
    )
