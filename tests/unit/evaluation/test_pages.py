"""Pages and figures of runs, looked at: nothing hides anything else, whatever there is and is called."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from focusllm.evaluation.page import html_page, markdown_page
from focusllm.evaluation.perplexity import PositionResult
from focusllm.evaluation.perplexity_report import PerplexityRun, find_perplexities, perplexities, perplexity_curves
from focusllm.evaluation.report import Curve, draw_curves, heat_map
from focusllm.evaluation.runs import find_runs

LONG = "FocusLLM, chunk_length=256, local_length=2048, candidate_refresh=0, local_refresh=cached, a long text"


def drawn(figure: Any) -> Any:
    figure.savefig(io.BytesIO(), format="png")
    return figure


@pytest.mark.parametrize("names", [["ours", "base"], [f"{LONG}, {n}" if n % 3 else f"system {n}" for n in range(40)]])
@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_names_stand_below_the_curves_and_each_has_a_line_of_its_own(names: list[str]) -> None:
    points = [(1024 * 2**n, 0.5, (0.4, 0.6)) for n in range(3)]
    figure = drawn(draw_curves([Curve(name, points) for name in names], "A title", "tokens", "score"))
    (axes,), (legend,) = figure.axes, figure.legends
    assert not axes.get_window_extent().overlaps(legend.get_window_extent())
    assert axes.get_window_extent().height > 1.5 * figure.dpi
    assert figure.bbox.containsx(legend.get_window_extent().x0)
    assert figure.bbox.containsx(legend.get_window_extent().x1)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(names)


def test_the_interval_of_a_single_point_is_drawn() -> None:
    (axes,) = draw_curves([Curve("ours", [(1024, 0.5, (0.25, 0.75))])], "A title", "tokens", "score").axes
    segments = [segment.tolist() for lines in axes.collections for segment in getattr(lines, "get_segments", list)()]
    assert segments == [[[1024, 0.25], [1024, 0.75]]]


def test_a_long_name_is_a_title_of_several_lines() -> None:
    figure = drawn(heat_map([{"length": 1024, "depth": 0.5, "score": 1.0}], LONG))
    title = figure.axes[0].title.get_window_extent()
    assert figure.bbox.containsx(title.x0)
    assert figure.bbox.containsx(title.x1)
    assert figure.axes[0].get_window_extent().height > 0.3 * figure.dpi


class Measured(PerplexityRun):
    """A run whose results are given."""

    def __init__(self, label: str, *values: float) -> None:
        super().__init__(Path("segments.jsonl"), {}, label, [])
        places = ((16 * n, 16 * n + 16) for n in range(len(values)))
        self.__dict__["results"] = [
            PositionResult(*place, value, (value, value), 16, 2) for place, value in zip(places, values, strict=True)
        ]


def test_a_system_that_is_far_off_leaves_the_others_to_be_seen() -> None:
    ours, base, broken = Measured("ours", 20.0, 21.0), Measured("base", 24.0, 60.0), Measured("broken", 1e13, math.inf)
    scales = [drawn(perplexity_curves(runs, "A title")).axes[0].get_yscale() for runs in ([ours, base], [ours, broken])]
    assert scales == ["linear", "log"]
    assert perplexities([ours, broken])[1:] == [
        ["ours", "20.00 [20.00, 20.00] n=16", "21.00 [21.00, 21.00] n=16"],
        ["broken", "1.00e+13 [1.00e+13, 1.00e+13] n=16", "inf [inf, inf] n=16"],
    ]


def test_a_perplexity_without_an_interval_is_shown_without_one() -> None:
    run = Measured("ours")
    run.__dict__["results"] = [
        PositionResult(0, 16, 20.0, (18.0, 22.0), 16, 2),
        PositionResult(16, 32, 9.0, None, 8, 1),
    ]
    assert perplexities([run])[1:] == [["ours", "20.00 [18.00, 22.00] n=16", "9.00 [none, segments: 1] n=8"]]
    (axes,) = drawn(perplexity_curves([run], "A title")).axes
    assert axes.lines[0].get_ydata().tolist() == [20.0, 9.0]
    strokes = [one.tolist() for lines in axes.collections for one in getattr(lines, "get_segments", list)()]
    assert [16.0, 18.0] in strokes[0]
    assert not any(place == 32 for stroke in strokes for place, _ in stroke)


def test_lengths_have_a_unit_pictures_a_description_and_tags_are_shown(tmp_path: Path) -> None:
    header = {"task": "facts", "system": "<b>ours</b>"}
    record = {"seed": "s", "length": 4096, "depth": 0.5, "score": 1.0, "is_right": True, "seconds": 1.0}
    (tmp_path / "samples.jsonl").write_text(f"{json.dumps(header)}\n{json.dumps(record)}\n")
    runs, texts = find_runs([tmp_path]), find_perplexities([tmp_path])
    html, markdown = html_page(runs, texts, "Title"), markdown_page(runs, texts, "<i>Title")
    assert "<th>4,096 tokens</th>" in html
    assert 'alt="facts: score by tokens"' in html
    assert 'alt="&lt;b&gt;ours&lt;/b&gt;: score by tokens and depth"' in html
    assert markdown.startswith("# \\<i>Title")
    assert "| \\<b>ours\\</b> | " in markdown
