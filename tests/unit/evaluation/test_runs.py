"""Runs read again: intervals, differences between systems, tables."""

import csv
import json
import math
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusllm.errors import InputError
from focusllm.evaluation.intervals import bootstrap_interval, paired_difference, score_interval, wilson_interval
from focusllm.evaluation.page import html_page, markdown_page
from focusllm.evaluation.perplexity_report import find_perplexities
from focusllm.evaluation.report import csv_table, mean_of_subsets
from focusllm.evaluation.runs import find_runs


def write_run(folder: Path, scores: list[float], system: str = "ours", task: str = "passkey-landmark") -> None:
    folder.mkdir(parents=True)
    header = {"task": task, "system": system}
    records: list[dict[str, Any]] = [
        {"seed": f"s/{n}", "length": 4096, "depth": 0.5, "score": score, "is_right": score == 1, "seconds": 1.0 + n}
        for n, score in enumerate(scores)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, [header, *records])) + "\n")


def test_intervals_of_scores() -> None:
    assert score_interval([1.0] * 9 + [0.0]) == wilson_interval(9, 10)
    scores = np.random.default_rng(1).random(200)
    low, high = score_interval(scores.tolist())
    # The percentile bootstrap of a mean of many values is close to the normal interval.
    half = 1.96 * scores.std() / 200**0.5
    assert low == pytest.approx(scores.mean() - half, abs=0.01)
    assert high == pytest.approx(scores.mean() + half, abs=0.01)
    assert score_interval(scores.tolist()) == (low, high)


@pytest.mark.parametrize(("count", "rare"), [(1, 0.95), (3, 0.6316), (100, 0.0295)])
def test_equal_samples_have_no_interval_of_no_width(count: int, rare: float) -> None:
    """Resampled, they would show that all others are the same; the more there are, the rarer others can be."""
    assert bootstrap_interval([0.4] * count) is None
    assert score_interval([0.4] * count) == pytest.approx((0.4 - rare * 0.4, 0.4 + rare * 0.6), abs=1e-4)
    assert score_interval([1.0] * count) == wilson_interval(count, count)
    wanted = (0.5, pytest.approx((0.5 - rare * 1.5, 0.5 + rare * 0.5), abs=1e-4))
    for groups in (["a"], ["a", "b"]):
        scores = [0.75] * count * len(groups)
        assert paired_difference(scores, [0.25] * len(scores), groups * count) == wanted


def test_intervals_of_long_runs_take_little_memory() -> None:
    """The same numbers as in one go, a part at a time."""
    values = np.random.default_rng(3).random(1000)
    drawn = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    wanted = tuple(np.percentile(drawn.mean(axis=1), [2.5, 97.5]))
    del drawn
    tracemalloc.start()
    assert bootstrap_interval(values.tolist()) == wanted
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


def test_paired_differences_are_far_surer_than_unpaired_ones() -> None:
    hardness = np.random.default_rng(2).random(100)
    ours, theirs = (hardness + 0.05).tolist(), hardness.tolist()
    difference, (low, high) = paired_difference(ours, theirs)
    assert difference == pytest.approx(0.05)
    assert high - low < 1e-6
    unpaired = score_interval(ours)
    assert unpaired[1] - unpaired[0] > 0.1


def test_differences_of_right_and_wrong_answers_have_newcombe_s_interval() -> None:
    """Resampled, ten answers that are right on both sides would show that there is no difference at all."""
    assert paired_difference([1] * 10, [1] * 10) == (0.0, pytest.approx((-0.278, 0.278), abs=1e-3))
    assert paired_difference([1] * 10, [0] * 10) == (1.0, pytest.approx((0.608, 1.0), abs=1e-3))
    # 20 right on both sides, 12 and 2 on one, 16 on none.
    ours, theirs = [1] * 32 + [0] * 18, [1] * 20 + [0] * 12 + [1] * 2 + [0] * 16
    assert paired_difference(ours, theirs) == (pytest.approx(0.2), pytest.approx((0.0562, 0.3292), abs=1e-4))
    # Of many samples, both intervals say the same.
    many, others = ours * 100, theirs * 100
    _, newcombe = paired_difference(many, others)
    assert newcombe == pytest.approx(bootstrap_interval([a - b for a, b in zip(many, others, strict=True)]), abs=2e-3)


def test_the_difference_of_published_runs_is_that_of_their_means_of_subsets(tmp_path: Path) -> None:
    """A large subset outweighs no small one, in the difference as in the mean."""
    scores = {
        "ours": {"large": [1.0, 1.0, 0.0] * 100, "small": [0.0, 0.1] * 10},
        "base": {"large": [0.0, 1.0, 0.0] * 100},
    }
    scores["base"]["small"] = [1.0, 0.8] * 10
    for system, by_subset in scores.items():
        told = {"groups": [], "data_checksum": "x", "seconds": 1.0, "is_right": False, "length": 9}
        records = [
            {"seed": f"{subset}/{n}", "subset": subset, "score": score, **told}
            for subset, some in by_subset.items()
            for n, score in enumerate(some)
        ]
        header = {"task": "longbench", "system": system}
        (tmp_path / system).mkdir()
        (tmp_path / system / "samples.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in [header, *records]))
    ours, base = sorted(find_runs([tmp_path]), key=lambda run: run.label, reverse=True)
    means = [mean_of_subsets(run.records) for run in (ours, base)]
    count, difference, (low, high) = ours.difference_to(base)  # type: ignore[misc]
    assert (count, difference) == (320, pytest.approx(means[0][1] - means[1][1]))  # type: ignore[index]
    # The spread of a third that gained 1, of two halves that lost 1 and 0.7, and of their mean.
    half = 1.96 * (2 / 9 / 300 + 0.15**2 / 20) ** 0.5 / 2
    assert (low, high) == (pytest.approx(difference - half, abs=0.004), pytest.approx(difference + half, abs=0.004))


def test_runs_are_found_in_folders_and_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "all" / "one", [1.0, 1.0, 0.0, 0.5])
    write_run(tmp_path / "all" / "two", [1.0, 0.0, 0.0, 0.0])
    write_run(tmp_path / "all" / "other", [1.0], system="base")
    runs = find_runs([tmp_path / "all", tmp_path / "all" / "one"])
    assert len(runs) == 3
    by_label = {run.label: run for run in runs}
    assert set(by_label) == {"ours, one", "ours, two", "base"}
    [result] = by_label["ours, one"].results
    assert (result.right, result.trials, result.score) == (2, 4, 0.625)
    found = by_label["ours, one"].difference_to(by_label["ours, two"])
    assert found is not None
    assert found[:2] == (4, 0.375)
    # Only what both have is compared.
    assert by_label["base"].difference_to(by_label["ours, two"])[0] == 1  # type: ignore[index]
    page = markdown_page(runs, [], "Title")
    assert "62.5% [" in page
    assert "+37.5" in page or "-37.5" in page
    assert "LLaMA-2-7B" in page


def test_runs_of_suites_are_told_apart_by_the_folders_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suite in ("one", "two"):
        for task in ("lines", "facts"):
            write_run(tmp_path / suite / task, [1.0], task=task)
    # Named twice, a folder is there once.
    monkeypatch.chdir(tmp_path)
    runs = find_runs([Path("one"), tmp_path / "one", tmp_path / "two"])
    assert [run.label for run in runs] == [
        f"ours, {suite}/{task}" for task in ("facts", "lines") for suite in ("one", "two")
    ]
    # Files of one folder go by their own names.
    (tmp_path / "one" / "lines" / "more.jsonl").write_text((tmp_path / "two" / "lines" / "samples.jsonl").read_text())
    own, more = find_runs([tmp_path / "one" / "lines", tmp_path / "one" / "lines" / "more.jsonl"])
    assert own.label != more.label == f"ours, {tmp_path}/one/lines/more.jsonl"


def test_systems_stand_as_they_were_named_and_run(tmp_path: Path) -> None:
    """Neither by the names of their folders."""
    together = tmp_path / "b" / "suite"
    for place, name in enumerate(("paper", "cached", "once")):
        write_run(together / name, [1.0], system=name)
        path = together / name / "samples.jsonl"
        header, *samples = map(json.loads, path.read_text().splitlines())
        path.write_text("".join(f"{json.dumps(line)}\n" for line in [{**header, "place": place}, *samples]))
    for name in ("z", "a"):
        write_run(tmp_path / name, [1.0], system=name)
        write_perplexity(tmp_path / "texts" / name, [1.0], system=name)
    assert [run.label for run in find_runs([tmp_path])] == ["a", "paper", "cached", "once", "z"]
    named = [tmp_path / name for name in ("z", "b", "a")]
    assert [run.label for run in find_runs(named)] == ["z", "paper", "cached", "once", "a"]
    assert [run.label for run in find_perplexities([tmp_path / "texts" / "z", tmp_path])] == ["z", "a"]


@pytest.mark.parametrize("told", ["depth", "data_checksum"])
def test_samples_of_other_depths_or_files_are_not_compared(tmp_path: Path, told: str) -> None:
    """Runs with another number of depths, or of another version of a data file, have the same seeds."""
    for name, other in (("one", 0.25), ("two", 0.75)):
        write_run(tmp_path / name, [1.0, 1.0, 0.0])
        path = tmp_path / name / "samples.jsonl"
        header, first, *others = map(json.loads, path.read_text().splitlines())
        path.write_text(
            "".join(json.dumps(line) + "\n" for line in [header, first, *({**o, told: other} for o in others)])
        )
    one, two = find_runs([tmp_path])
    assert one.difference_to(two) == (1, 0.0, pytest.approx((-0.793, 0.793), abs=1e-3))


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [1.0, 0.0])
    path = tmp_path / "run" / "samples.jsonl"
    whole = path.read_text()
    for text, scores in (
        (whole + '{"seed": "s/2", "le', (1.0, 0.0)),
        (whole.rstrip("\n"), (1.0, 0.0)),
        (whole[:-20], (1.0,)),
    ):
        path.write_text(text)
        [run] = find_runs([tmp_path])
        assert run.results[0].scores == scores
        # To read a run changes nothing.
        assert path.read_text() == text
    path.write_text(whole.replace("}", "", 2))
    with pytest.raises(InputError, match="is not a run's file"):
        find_runs([tmp_path])


def test_names_and_outputs_of_any_kind_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["a|b", "<b>&\"'", "über", "$x_$ and $y"]
    for name in names:
        write_run(tmp_path / name, [1.0, 0.5], system=name)
    runs = find_runs([tmp_path])
    page = markdown_page(runs, [], "Title")
    head = page[page.index("| score in") :].splitlines()[:4]
    # As many cells in every row.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in head} == {3}
    assert "| a\\|b | " in page
    assert "&lt;b&gt;&amp;&quot;&#x27;" in (html := html_page(runs, [], "Title"))
    assert "<b>" not in html
    rows = csv.reader(csv_table(runs, []).splitlines())
    assert {row[1] for row in rows} == {"system", *names}


def test_a_run_without_depths_has_no_heat_map(tmp_path: Path) -> None:
    write_run(tmp_path / "with", [1.0])
    header, record = map(json.loads, (tmp_path / "with" / "samples.jsonl").read_text().splitlines())
    del record["depth"]
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "samples.jsonl").write_text(f"{json.dumps(header)}\n{json.dumps(record)}\n")
    pages = [html_page(find_runs([tmp_path / name]), [], "Title") for name in ("with", "without")]
    assert [page.count("data:image/png") for page in pages] == [2, 1]


def test_a_run_without_samples_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "empty", [])
    with pytest.raises(InputError, match="jsonl holds no samples yet") as raised:
        find_runs([tmp_path])
    assert "not a run" not in str(raised.value)


def test_versions_of_a_task_are_not_compared(tmp_path: Path) -> None:
    for version in (1, 2):
        write_run(tmp_path / str(version), [1.0])
        path = tmp_path / str(version) / "samples.jsonl"
        header, *records = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps({**json.loads(header), "task_version": version}), *records]) + "\n")
    page = markdown_page(find_runs([tmp_path]), [], "Title")
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## passkey-landmark", "## passkey-landmark, version 2",
    ]  # fmt: skip
    assert "difference to" not in page


def write_perplexity(folder: Path, losses: list[float], system: str, text: str = "0123456789", stride: int = 8) -> None:
    folder.mkdir(parents=True)
    header = {
        "task": "perplexity",
        "system": system,
        "window": 16,
        "stride": stride,
        "num_tokens": 8 * len(losses),
        "text_checksum": text,
    }
    segments = [{"start": 8 * n, "loss": loss, "count": 8} for n, loss in enumerate(losses)]
    (folder / "segments.jsonl").write_text("\n".join(map(json.dumps, [header, *segments])) + "\n")


def test_runs_over_one_text_stand_side_by_side(tmp_path: Path) -> None:
    write_perplexity(tmp_path / "a", [1.0, 1.0, 2.0, 4.0], "ours")
    write_perplexity(tmp_path / "b", [1.0, 1.0, 3.0, 3.0], "base")
    write_perplexity(tmp_path / "c", [1.0], "ours", text="another text")
    write_run(tmp_path / "d", [1.0])
    runs, texts = find_runs([tmp_path]), find_perplexities([tmp_path])
    assert (len(runs), len(texts)) == (1, 3)
    page = markdown_page(runs, texts, "Title")
    assert page.count("\n## perplexity, ") == 2
    # In other segments, tokens are predicted from something else.
    write_perplexity(other := tmp_path / "other", [1.0, 1.0, 2.0, 2.0], "ours", stride=16)
    assert len({run.task for run in [*texts, *find_perplexities([other])]}) == 3
    (other / "segments.jsonl").unlink()
    head, _, *rows = page[page.index("| perplexity by") :].splitlines()[:4]
    assert head.split(" | ")[1:] == ["0 to 16", "16 to 32 |"]
    cells = {row.split(" | ")[0]: row.split(" | ")[1:] for row in rows}
    assert cells["| ours"][1] == f"{math.exp(3):.2f} [{math.exp(2):.2f}, {math.exp(4):.2f}] n=16 |"
    assert cells["| base"][1] == f"{math.exp(3):.2f} [none, segments: 2] n=16 |"
    lines = csv_table(runs, texts).splitlines()
    assert len(lines) == 1 + 1 + 2 + 2 + 1
    assert any(line.endswith(",base,32,,16,20.0855,,,") for line in lines)
    assert "data:image/png" in html_page([], texts, "Title")
    # Texts alone are runs enough; a folder with neither is none.
    assert find_runs([tmp_path / "a"]) == []
    (tmp_path / "e").mkdir()
    with pytest.raises(InputError, match="There are no runs"):
        find_runs([tmp_path / "e"])


def test_losses_beyond_all_numbers_are_drawn(tmp_path: Path) -> None:
    write_perplexity(tmp_path / "a", [1.0, 1.0, 800.0, math.inf, math.nan], "ours")
    assert "data:image/png" in html_page([], find_perplexities([tmp_path]), "Title")


def test_what_is_no_run_over_a_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "segments.jsonl").write_text('{"task": "perplexity"}\n{"start": 0}\n')
    with pytest.raises(InputError, match="is not a run's file"):
        find_perplexities([tmp_path])
    write_perplexity(tmp_path / "empty", [], "ours")
    with pytest.raises(InputError, match="holds no segments yet"):
        find_perplexities([tmp_path / "empty"])
