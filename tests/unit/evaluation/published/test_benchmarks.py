"""Published benchmarks read from files: prompts, limits, ends and groups are those the files say; damage is named."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from focusllm import FocusConfig, FocusModel
from focusllm.errors import ConfigurationError, FocusError, InputError, MissingDependencyError
from focusllm.evaluation.cells import Cell
from focusllm.evaluation.ending import OWN_ENDS, Ending
from focusllm.evaluation.published.files import python_value, samples_of
from focusllm.evaluation.published.suite import PUBLISHED, Choice, PublishedSuite
from focusllm.evaluation.published.templates import filled, instruction_behind
from focusllm.evaluation.runner import run_suite
from focusllm.evaluation.runs import title_of
from published_folders import (
    FOLDERS,
    LONG_TEXT,
    LONGBENCH_TEMPLATES,
    babilong_folder,
    infinitebench_folder,
    longbench_folder,
    longbench_sample,
    longbench_v2_folder,
    write,
)
from tiny import SMALL, tiny_base, tiny_tokenizer


def cells(name: str, folder: Path, **choice: Any) -> list[Cell]:
    suite = PublishedSuite(name, Choice(folder, **choice))
    found = list(suite.cells())
    assert len(found) == suite.work
    return found


def prompt_of(cell: Cell) -> str:
    """Return a prompt; letters are its tokens here."""
    return "".join(map(chr, cell.draw(lambda text: list(map(ord, text))).prompt_ids))


def score_of(cell: Cell, output: str) -> float:
    return cell.score(output, cell.draw(lambda text: list(map(ord, text))))


def test_every_published_benchmark_has_a_folder_here() -> None:
    assert set(FOLDERS) == set(PUBLISHED)


def test_longbench_is_asked_as_its_files_say(tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path)
    found = cells("longbench", folder, trials=2)
    assert [(cell.told["subset"], cell.told["groups"]) for cell in found] == [("hotpotqa", [])] * 2 + [
        ("gov_report", [])
    ] * 2
    template = LONGBENCH_TEMPLATES["hotpotqa"]
    assert prompt_of(found[0]) == template.replace("{context}", LONG_TEXT).replace("{input}", "Who came?")
    assert {cell.max_new_tokens for cell in found} == {4}
    assert score_of(found[0], "The Bob.\n") == 1
    assert score_of(found[0], "Eve") == 0
    assert len(cells("longbench", folder, subsets=("gov_report",))) == 3


def test_longbench_by_the_paper_moves_instructions_and_ends_at_lines(tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path)
    write(folder / "data" / "multi_news.jsonl", [longbench_sample()])
    by_name = {cell.told["subset"]: cell for cell in cells("longbench", folder, protocol="paper")}
    said = f"Report:\n{LONG_TEXT}\n\nSum this up.\n\nSum it up now.\n\nSum:"
    assert prompt_of(by_name["gov_report"]) == said
    assert prompt_of(by_name["multi_news"]) == f"News:\n{LONG_TEXT}\n\nSum these up. \n\nSum:"
    assert prompt_of(by_name["hotpotqa"]).startswith("Passages follow.")
    assert (by_name["hotpotqa"].stops, by_name["gov_report"].stops) == (("\n",), ())
    assert not any(cell.stops for cell in cells("longbench", folder))


def test_only_samsum_ends_at_lines_officially_and_six_stay_outside_chats(tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path)
    write(folder / "data" / "samsum.jsonl", [longbench_sample(answers=["They met."])])
    write(folder / "data" / "trec.jsonl", [longbench_sample(all_classes=["city", "Ada", "Bob"])])
    write(folder / "data" / "lcc.jsonl", [longbench_sample(input="", answers=["return x"])])
    for protocol in ("official", "paper"):
        found = cells("longbench", folder, protocol=protocol, is_chat=True)
        by_name = {cell.told["subset"]: cell for cell in found}
        assert (by_name["samsum"].stops, by_name["samsum"].min_new_tokens) == (("\n",), int(protocol == "official"))
        bare = {name for name, cell in by_name.items() if not cell.is_chat}
        assert bare == ({"samsum", "trec", "lcc"} if protocol == "official" else set())
    # Scores look at the first line where the benchmark does, and at the classes of the sample.
    assert score_of(by_name["trec"], "\nBob or Ada\ncity") == 0.5
    assert score_of(by_name["samsum"], "They met.\nNo.") == pytest.approx(1)
    assert score_of(by_name["lcc"], "# so\nreturn x\n") == 1


def test_longbench_e_is_told_by_length(tmp_path: Path) -> None:
    found = cells("longbench-e", longbench_folder(tmp_path), subsets=("gov_report",))
    assert [cell.told["groups"] for cell in found] == [[f"gov_report, {part}"] for part in ("0-4k", "4-8k", "8k+")]


def test_longbench_v2_fills_dollars_once(tmp_path: Path) -> None:
    hard, easy = cells("longbench-v2", longbench_v2_folder(tmp_path))
    context = f"{LONG_TEXT} costs $Q$"
    assert prompt_of(hard) == f"{context}\nWhat? choice A/choice B/choice C/choice D again What?"
    assert (hard.told["groups"], easy.told["groups"]) == (["hard", "long"], ["easy", "short"])
    assert hard.max_new_tokens == 128
    assert score_of(hard, "The correct answer is (B).") == 1
    assert score_of(hard, "B") == 0


class Spoken:
    """A system that says what it was told to, and remembers what it was asked."""

    name = "spoken"
    config = FocusConfig()

    def __init__(self, model: FocusModel, *outputs: str) -> None:
        self._model, self._outputs = model, list(outputs)
        self.asked: list[tuple[str, int]] = []

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        self.asked.append((str(self._model.tokenizer.decode(list(prompt_ids))), max_new_tokens))  # type: ignore[union-attr]
        return self._model.encode(self._outputs.pop(0))


def test_longbench_v2_asks_for_the_answer_behind_the_reasoning(tmp_path: Path) -> None:
    folder, path = longbench_v2_folder(tmp_path), tmp_path / "out" / "samples.jsonl"
    model = FocusModel(tiny_base(vocab_size=259), SMALL, tiny_tokenizer())
    suite = PublishedSuite("longbench-v2", Choice(folder, reasons=True))
    said = " The correct answer is (B), since $Q$.\n"
    spoken = Spoken(model, said, "The correct answer is (A).", "", "The correct answer is (B).")
    wrong, right = run_suite(suite, {path: spoken}, model)[path]
    # The reasoning is not scored, nor filled again; without any, the answer is asked for all the same.
    assert (wrong["score"], right["score"]) == (0, 1)
    assert (wrong["reasoning"], right["reasoning"]) == (said, "")
    choices = "What? choice A/choice B/choice C/choice D"
    first = f"{LONG_TEXT} costs $Q$\n{choices} Think:"
    assert spoken.asked == [
        (first, 1024), (f"No text. {choices} Thought: {said.strip()} Which?", 128),
        (first, 1024), (f"No text. {choices} Thought:  Which?", 128),
    ]  # fmt: skip
    assert wrong["length"] == len(first)
    header = json.loads(path.read_text().splitlines()[0])
    assert (header["reasoning"], title_of(header)) == (True, "longbench-v2, official protocol, reasoning")
    # It is another run than one without, in both directions.
    at_once = PublishedSuite("longbench-v2", Choice(folder))
    with pytest.raises(InputError, match=r"holds another run: \['prompts_checksum', 'reasoning'\] differ"):
        run_suite(at_once, {path: spoken}, model)
    records = run_suite(at_once, {tmp_path / "other.jsonl": Spoken(model, "A", "B")}, model)
    assert not any("reasoning" in record for found in records.values() for record in found)


def test_reasoning_is_worded_as_a_chat_in_both_turns(tmp_path: Path) -> None:
    model = FocusModel(tiny_base(vocab_size=259), SMALL, tiny_tokenizer())
    model.tokenizer.chat_template = "{% for m in messages %}<u>{{ m['content'] }}</u>{% endfor %}"  # type: ignore[union-attr]
    suite = PublishedSuite("longbench-v2", Choice(longbench_v2_folder(tmp_path), trials=1, is_chat=True, reasons=True))
    spoken = Spoken(model, "So.", "B")
    run_suite(suite, {tmp_path / "samples.jsonl": spoken}, model)
    assert all(prompt.startswith("<u>") and prompt.endswith("</u>") for prompt, _ in spoken.asked)


def test_infinitebench_is_asked_as_its_files_say(tmp_path: Path) -> None:
    found = {cell.told["subset"]: cell for cell in cells("infinitebench", infinitebench_folder(tmp_path))}
    prompts = {name: prompt_of(cell) for name, cell in found.items()}
    assert prompts["passkey"] == f"A key is hidden.\n\n{LONG_TEXT}\n\nWhich key?\n\nIt is"
    assert prompts["code_run"] == f"Here is func_7.\n\n{LONG_TEXT}\n\nWhat is func_7(-3)?"
    assert prompts["math_find"].startswith("Which is the second largest number here?")
    assert prompts["longbook_choice_eng"].endswith("Asked: Who?\nA. Ada\nB. Bob\nC. Cy\nD. Di\nIt is")
    assert found["longbook_choice_eng"].max_new_tokens == 40
    outputs = {"passkey": " 71432.", "code_run": "It is 4", "math_find": " 9", "longbook_choice_eng": " C"}
    assert {name: score_of(cell, outputs[name]) for name, cell in found.items()} == dict.fromkeys(outputs, 1)
    assert {score_of(cell, "none") for cell in found.values()} == {0}


def test_infinitebench_by_the_paper(tmp_path: Path) -> None:
    folder = infinitebench_folder(tmp_path)
    found = {cell.told["subset"]: cell for cell in cells("infinitebench", folder, protocol="paper")}
    assert prompt_of(found["passkey"]) == f"{LONG_TEXT}\n\nWhich key?\n\nA key is hidden.\n\nIt is"
    assert prompt_of(found["longbook_choice_eng"]).startswith(f"{LONG_TEXT}\n\nRead on.\n\nAsked: Who?")
    assert found["longbook_choice_eng"].max_new_tokens == 6
    assert prompt_of(found["code_run"]).startswith("Here is func_7.")


def test_other_templates_of_infinitebench(tmp_path: Path) -> None:
    folder = infinitebench_folder(tmp_path)
    [cell] = cells("infinitebench", folder, templates="other", subsets=("passkey",))
    assert prompt_of(cell) == f"{LONG_TEXT}Which key?"
    with pytest.raises(InputError, match="no plain value called 'third_templates'"):
        cells("infinitebench", folder, templates="third")
    with pytest.raises(ConfigurationError, match="--templates belongs to infinitebench"):
        cells("babilong", babilong_folder(tmp_path), templates="other")


def test_babilong_is_asked_as_its_files_say(tmp_path: Path) -> None:
    found = cells("babilong", babilong_folder(tmp_path))
    lengths = ("2k", "16k", "1M")
    assert [cell.told["subset"] for cell in found[::2]] == [f"qa1-{length}" for length in lengths]
    assert [cell.told["groups"] for cell in found[::2]] == [[f"all tasks, {length}"] for length in lengths]
    said = f"Say where. Be short.|None.|Now:\n<context>{LONG_TEXT.strip()}</context> Where is Ada?"
    assert prompt_of(found[0]) == said
    assert score_of(found[0], "In the GARDEN.") == 1
    assert score_of(found[0], "garden or kitchen") == 0
    # Versions of the repository differ in how they write labels.
    write(tmp_path / "babilong" / "metrics.py", "TASK_LABELS = {'qa1': {'garden', 'kitchen'}}\n")
    assert score_of(cells("babilong", tmp_path)[0], "garden or kitchen") == 0
    # A task without labels has no score.
    with pytest.raises(ConfigurationError, match="--subsets must be among qa1-0k"):
        cells("babilong", tmp_path, subsets=("qa8-2k",))


def removed(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def changed(name: str, content: Any) -> Callable[[Path], None]:
    return lambda folder: (write(folder / name, content), None)[1]


DATA, PROMPTS = "data/hotpotqa.jsonl", "config/dataset2prompt.json"
SAMPLE = json.dumps(longbench_sample())


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("longbench", removed(PROMPTS), r"There is no prompt file in .*: looked for config/dataset2prompt.json, LongB"),
        ("longbench", changed(PROMPTS, "[1]"), "must be a JSON object"),
        (
            "longbench",
            changed(PROMPTS, {"samsum": "x"}),
            "Of 'hotpotqa', .* must say a str; it says nothing; it has samsum",
        ),
        (
            "longbench",
            changed(PROMPTS, {**LONGBENCH_TEMPLATES, "hotpotqa": "{context}{story}"}),
            r"asks for \{story\}; a sample has context",
        ),
        ("longbench", changed("config/dataset2maxlen.json", {"hotpotqa": "4"}), "must say a int; it says '4'"),
        ("longbench", removed(DATA, "data/gov_report.jsonl"), "no data of longbench in .*data/narrativeqa.jsonl"),
        ("longbench", changed(DATA, f"{SAMPLE}\n{SAMPLE[:-9]}\n"), r"hotpotqa.jsonl, line 2 is not JSON"),
        ("longbench", changed(DATA, f"{SAMPLE}\n\n3\n"), r"hotpotqa.jsonl, line 3 must be a JSON object; got 3"),
        ("longbench", changed(DATA, [{"input": "x"}]), r"line 1 has no field 'context'; it has input"),
        ("longbench", changed(DATA, [longbench_sample(answers=[])]), "'answers' is empty"),
        ("longbench", changed(DATA, [longbench_sample(answers=[3])]), "'answers' must be a text, or a list of texts"),
        ("longbench", changed(DATA, [longbench_sample(context=None)]), "'context' must be a text; got None"),
        ("longbench", changed(DATA, "\n"), "hotpotqa.jsonl holds no samples"),
        ("longbench-v2", removed("prompts/0shot.txt"), "looked for prompts/0shot.txt"),
        ("longbench-v2", changed("data.json", "[{}]"), "sample 1 has no field"),
        ("longbench-v2+", removed("prompts/0shot_cot_ans.txt"), "looked for prompts/0shot_cot_ans.txt"),
        ("longbench-v2+", changed("prompts/0shot_cot_ans.txt", "$COT$ $WHY$"), r"asks for \$WHY\$; a sample has"),
        ("longbench-v2", changed("data.json", "[{}"), "is not JSON"),
        ("infinitebench", removed("src/eval_utils.py"), "looked for src/eval_utils.py"),
        ("infinitebench", changed("src/prompt.py", "yarn_mistral_templates = dict()"), "no plain value"),
        ("infinitebench", changed("src/prompt.py", "yarn_mistral_templates = {"), "SyntaxError"),
        ("infinitebench", changed("src/prompt.py", "a = f'{a}'\nyarn_mistral_templates = a"), "no plain value"),
        (
            "infinitebench",
            changed("data/InfiniteBench/code_run.jsonl", [{"context": "", "input": "func_1(2)", "answer": "x"}]),
            "'answer' must hold a value of int; got 'x'",
        ),
        (
            "infinitebench",
            changed("data/InfiniteBench/code_run.jsonl", [{"context": "", "input": "what?", "answer": 3}]),
            "'input' must hold",
        ),
        (
            "infinitebench",
            changed(
                "data/InfiniteBench/longbook_choice_eng.jsonl",
                [{"context": "", "input": "", "answer": "Eve", "options": ["Ada", "Bob", "Cy", "Di"]}],
            ),
            "the answer 'Eve' is none of the options",
        ),
        ("babilong", removed("babilong/metrics.py"), "no file of labels in .*babilong/metrics.py"),
    ],
)
def test_damage_is_named_before_anything_is_run(
    tmp_path: Path, name: str, damage: Callable[[Path], None], words: str
) -> None:
    benchmark = name.rstrip("+")
    folder = FOLDERS[benchmark](tmp_path)
    damage(folder)
    with pytest.raises(InputError, match=words):
        PublishedSuite(benchmark, Choice(folder, reasons=name.endswith("+")))


@pytest.mark.parametrize(
    ("subset", "library"), [("multifieldqa_zh", "jieba"), ("vcsum", "jieba"), ("lcc", "rapidfuzz")]
)
def test_a_library_that_scores_need_is_missed_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subset: str, library: str
) -> None:
    folder = longbench_folder(tmp_path)
    for name, content in (("dataset2prompt", "{context} {input}"), ("dataset2maxlen", 4)):
        write(folder / "config" / f"{name}.json", {subset: content})
    write(folder / "data" / f"{subset}.jsonl", [longbench_sample()])
    choice = Choice(folder, "paper", (subset,))
    assert PublishedSuite("longbench", choice).work == 1
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.distance", None)
    with pytest.raises(MissingDependencyError, match=rf"{library}: pip install 'focusllm\[eval\]'"):
        PublishedSuite("longbench", choice)


@pytest.mark.parametrize(
    ("name", "choice", "words"),
    [
        ("longbench", {"protocol": "ours"}, "--protocol must be official or paper for longbench; got 'ours'"),
        ("babilong", {"protocol": "paper"}, "--protocol must be official for babilong"),
        ("longbench", {"subsets": ("hotpot",)}, "--subsets must be among narrativeqa, .* got 'hotpot'"),
        ("longbench", {"subsets": ("qasper",)}, "no data file of qasper in .*: looked for data/qasper.jsonl"),
        ("longbench", {"trials": 0}, "--trials must be at least 1"),
        ("longbench", {"reasons": True}, "--reasoning belongs to longbench-v2; longbench asks"),
    ],
)
def test_what_is_not_to_be_had_is_said(tmp_path: Path, name: str, choice: dict[str, Any], words: str) -> None:
    folder = FOLDERS[name](tmp_path)
    with pytest.raises(FocusError, match=words):
        PublishedSuite(name, Choice(folder, **choice))


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        PublishedSuite("longbench", Choice(tmp_path / "nowhere"))


def test_python_files_are_read_and_never_run(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.py", "A = 'x'\nB = f'{A}-{c}'\nC = {'k': B and 1}\nD = {1: {'a', 'b'}}\nraise SystemExit\n"
    )
    assert python_value(path, "B") == "x-{c}"
    assert python_value(path, "D") == {1: {"a", "b"}}
    for name in ("C", "E"):
        with pytest.raises(InputError, match=f"no plain value called '{name}'"):
            python_value(path, name)


def test_files_that_are_not_text_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(InputError, match="line 1 is not JSON"):
        list(samples_of(tmp_path / "a.jsonl"))
    (tmp_path / "a.jsonl").write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match="is not UTF-8 text"):
        list(samples_of(tmp_path / "a.jsonl"))


def test_values_are_not_filled_again() -> None:
    assert filled("{a} {b}", {"a": "{b}", "b": "2"}) == "{b} 2"


def test_an_instruction_needs_a_text_to_stand_behind() -> None:
    assert instruction_behind("Do it.\n\n{context}\n\nNow.") == "{context}\n\nDo it.\n\nNow."
    assert instruction_behind("{context} so") == "{context} so"
    with pytest.raises(InputError, match="must hold"):
        instruction_behind("Do it.")
