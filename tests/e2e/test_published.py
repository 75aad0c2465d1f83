"""``focusllm eval`` on published benchmarks: made-up files in, samples, tables and reports out."""

import json
from pathlib import Path
from typing import Any

import pytest

from focusllm import FocusModel
from focusllm.evaluation.published import longbench_v2
from focusllm.files import file_checksum
from published_folders import FOLDERS, LONG_TEXT, LONGBENCH_TEMPLATES, longbench_folder, longbench_sample, write

OPTIONS = ("--chunk-length", 100, "--local-length", 100, "--device", "cpu", "--dtype", "float32")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_published_benchmark_runs(command, base: Path, tmp_path: Path, name: str) -> None:
    folder, out = FOLDERS[name](tmp_path / "data"), tmp_path / "out"
    run = command("eval", name, "--data", folder, "--trials", 1, "--model", base, *OPTIONS, "-o", out)
    assert run.status == 0
    header, *records = lines_of(out)
    assert (header["task"], header["protocol"], header["is_chat"]) == (name, "official", False)
    title, _, head, *_ = (out / "table.md").read_text().splitlines()
    assert title.startswith(f"{name}, official protocol")
    assert head.startswith("| subset | right | n | score | 95% interval |")
    subsets = [record["subset"] for record in records]
    assert len(set(subsets)) == len(records) > 0
    assert all(f"| {subset} | " in run.out for subset in subsets)
    assert all(0 <= record["score"] <= 1 for record in records)
    assert ("mean of" in run.out) == (len(subsets) > 1)
    assert not (out / "heatmap.png").exists()


def test_a_run_is_the_prompt_s_and_goes_on_with_the_same_files(command, base: Path, tmp_path: Path) -> None:
    folder, out = longbench_folder(tmp_path / "data"), tmp_path / "out"
    arguments = ("eval", "longbench", "--data", folder, "--model", base, *OPTIONS, "-o", out)
    assert command(*arguments, "--subsets", "hotpotqa", "--trials", 1).status == 0
    _, record = lines_of(out)
    model = FocusModel.from_pretrained(
        base, dtype="float32", device="cpu", config={"chunk_length": 100, "local_length": 100}
    )
    prompt = LONGBENCH_TEMPLATES["hotpotqa"].replace("{context}", LONG_TEXT).replace("{input}", "Who came?")
    assert record["length"] == len(model.encode(prompt))
    assert record["data_checksum"] == file_checksum(folder / "data" / "hotpotqa.jsonl")
    again = command(*arguments)
    assert again.status == 0
    assert "mean of 2 subsets" in again.out
    found = lines_of(out)
    assert found[1] == record
    assert len({line["seed"] for line in found[1:]}) == len(found) - 1 == 6
    write(folder / "data" / "gov_report.jsonl", [longbench_sample(answers=["Other."])] * 3)
    run = command(*arguments)
    assert (run.status, "of other data" in run.err) == (1, True)
    run = command(*arguments, "--protocol", "paper")
    assert (run.status, "['protocol'] differ" in run.err.replace("\n", " ")) == (1, True)


def test_policies_and_protocols_are_told_apart_in_reports(command, base: Path, tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path / "data")
    arguments = ("eval", "longbench-e", "--data", folder, "--model", base, *OPTIONS)
    both = ("--policies", "cached,once", "-o", tmp_path / "runs" / "both")
    assert command(*arguments, *both).status == 0
    paper = ("--protocol", "paper", "--system", "base-ends", "-o", tmp_path / "runs" / "paper")
    assert command(*arguments, *paper).status == 0
    outputs = [part for name in ("r.html", "r.md", "r.csv") for part in ("-o", tmp_path / name)]
    assert command("report", tmp_path / "runs", *outputs).status == 0
    page = (tmp_path / "r.md").read_text()
    official, by_paper = page.split("## longbench-e, ")[1:]
    assert (official.split("\n")[0], by_paper.split("\n")[0]) == ("official protocol", "paper protocol")
    rows = [line.split(" | ")[0] for line in official.splitlines() if line.startswith("| ")]
    groups = [f"{name}, {part}" for name in ("hotpotqa", "gov_report") for part in ("0-4k", "4-8k", "8k+")]
    assert rows[1:10] == [f"| {row}" for row in ("hotpotqa", "gov_report", *sorted(groups), "mean of subsets")]
    assert "base, both ends" in by_paper
    assert "base, both ends" not in official
    assert "difference to" in official
    assert "data:image" not in (tmp_path / "r.html").read_text()
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 3 * 8


def test_chats_are_worded_by_the_template(command, base: Path, tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path / "data")
    write(folder / "data" / "trec.jsonl", [longbench_sample(all_classes=["Ada"])])
    arguments = ("eval", "longbench", "--data", folder, "--trials", 1, "--chat", *OPTIONS)
    run = command(*arguments, "--model", base, "-o", tmp_path / "none")
    assert (run.status, "no chat template" in run.err) == (1, True)
    template = "{% for message in messages %}<u>{{ message['content'] }}</u>{% endfor %}"
    chatty = tmp_path / "chatty"
    chatty.mkdir()
    for path in base.iterdir():
        (chatty / path.name).write_bytes(path.read_bytes())
    write(chatty / "chat_template.jinja", template)
    assert command(*arguments, "--model", chatty, "-o", tmp_path / "out").status == 0
    header, *records = lines_of(tmp_path / "out")
    assert header["is_chat"]
    lengths = {record["subset"]: record["length"] for record in records}
    for name, length in lengths.items():
        prompt = LONGBENCH_TEMPLATES[name].replace("{context}", LONG_TEXT).replace("{input}", "Who came?")
        assert length == len(prompt) + (0 if name == "trec" else len("<u></u>"))


def test_reasoning_comes_before_the_answer(
    command, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = FOLDERS["longbench-v2"](tmp_path / "data"), tmp_path / "out"
    arguments = ("eval", "longbench-v2", "--data", folder, "--model", base, *OPTIONS, "-o", out)
    run = command(*arguments, "--reasoning")
    # The window of 512 holds no reasoning of 1,024 tokens.
    assert (run.status, "1024 new tokens" in run.err.replace("\n", " ")) == (1, True)
    monkeypatch.setattr(longbench_v2, "_REASONING_TOKENS", 20)
    monkeypatch.setattr(longbench_v2, "_MAX_NEW_TOKENS", 8)
    run = command(*arguments, "--reasoning", "--local-refresh", "cached", "-o", tmp_path / "reasoned")
    assert run.status == 0
    assert run.out.startswith("longbench-v2, official protocol, reasoning, focusllm")
    _, *records = lines_of(tmp_path / "reasoned")
    assert len(records) == 2
    assert all(record["reasoning"] and record["output"] for record in records)


def test_wrong_use_of_published_benchmarks_is_one_clear_sentence(command, tmp_path: Path) -> None:
    folder = longbench_folder(tmp_path)
    for arguments, words in (
        (("longbench",), "longbench is read from files: give --data"),
        (("longbench", "--data", tmp_path / "nowhere"), "is no folder"),
        (
            ("longbench", "--data", folder, "--lengths", "4K"),
            "'longbench' is not a generated benchmark: leave out --lengths.",
        ),
        (("passkey", "--data", folder, "--chat"), "'passkey' is not a published benchmark: leave out --data, --chat."),
        (("passkey", "--reasoning"), "'passkey' is not a published benchmark: leave out --reasoning."),
        (("longbench", "--data", folder, "--reasoning"), "--reasoning belongs to longbench-v2"),
        (("longbench", "--data", folder, "--subsets", "x"), "--subsets must be among"),
        (("longbench", "--data", folder, "--protocol", "x"), "--protocol must be official or paper"),
    ):
        run = command("eval", *arguments)
        assert run.status == 1
        assert words in run.err.replace("\n", " ")
