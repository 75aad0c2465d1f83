"""Perplexity: every token's loss is that of decoding it step by step, and a run can be taken up again."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from focusllm import FocusModel
from focusllm.errors import ConfigurationError, InputError, StateError, WindowError
from focusllm.evaluation.continuations import ContinuationScorer
from focusllm.evaluation.perplexity import (
    Perplexity,
    Segment,
    SegmentedText,
    by_position,
    perplexity_table,
    run_perplexity,
)
from tiny import BOS, SMALL, random_ids, tiny_model, tiny_tokenizer

CONFIG = replace(SMALL, local_refresh="cached", candidate_refresh=0, chunk_length=12, local_length=16)
TEXT = random_ids(200)
STRIDE = 8


def model_of(**changes: object) -> FocusModel:
    model = tiny_model(config=replace(CONFIG, **changes))
    return FocusModel(model.detach(), model.config, tiny_tokenizer()).eval() if changes else model


def test_a_segment_s_loss_is_that_of_steps() -> None:
    """Prefill over what is before it, then a step a token with the candidates as they are."""
    model = tiny_model(config=CONFIG)
    model._engine.bos_token_id = BOS
    scored = Perplexity(model, TEXT, STRIDE)
    for start in (64, 104, 152):
        state = model._engine.prefill([scored.text.split(start)])
        losses = []
        for token in TEXT[start : start + STRIDE]:
            losses.append(-state.logits[0].log_softmax(-1)[token])
            state = model.step(state, torch.tensor([token]))
        assert scored.segment(start).loss == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
        # The order in which segments are asked for does not matter.
        assert scored.segment(start).loss == scored.segment(start).loss


def test_the_first_segments_are_the_base_s_own() -> None:
    model = tiny_model(config=CONFIG)
    model._engine.bos_token_id = BOS
    scored = Perplexity(model, TEXT, STRIDE)
    with torch.no_grad(), model.disabled() as base:
        losses = -base(torch.tensor([[BOS, *TEXT[:32]]])).logits[0, :-1].log_softmax(-1)
    wanted = losses.gather(1, torch.tensor(TEXT[:32]).unsqueeze(1)).squeeze(1)
    for start in (0, 8, 24):
        assert scored.segment(start).loss == pytest.approx(float(wanted[start : start + STRIDE].mean()), rel=1e-5)
    alone = Perplexity(model, TEXT, STRIDE, by_base=True)
    assert alone.segment(24) == scored.segment(24)
    context = TEXT[160 - (model.window - STRIDE - 1) : 160 + STRIDE]
    with torch.no_grad(), model.disabled() as base:
        losses = -base(torch.tensor([[BOS, *context]])).logits[0, :-1].log_softmax(-1)
    wanted = losses.gather(1, torch.tensor(context).unsqueeze(1)).squeeze(1)[-STRIDE:]
    assert alone.segment(160).loss == pytest.approx(float(wanted.mean()), rel=1e-5)


def test_a_run_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    model = tiny_model(config=CONFIG)
    scored, path = Perplexity(model, TEXT, STRIDE), tmp_path / "segments.jsonl"
    whole = run_perplexity(scored, path)
    assert [segment.start for segment in whole] == list(range(0, 193, STRIDE))
    lines = path.read_text().splitlines()
    # Nine lines and a part of the next.
    path.write_text("\n".join(lines[:9]) + "\n" + lines[9][:11])
    seen: list[tuple[Segment, bool]] = []
    assert run_perplexity(Perplexity(model, TEXT, STRIDE), path, lambda *told: seen.append(told)) == whole
    assert seen == [(segment, number >= 8) for number, segment in enumerate(whole)]
    assert path.read_text().splitlines() == lines
    with pytest.raises(InputError, match="holds another run"):
        run_perplexity(Perplexity(model, TEXT[:-8], STRIDE), path)


def test_some_segments_of_each_range_are_scored_as_among_all(tmp_path: Path) -> None:
    model = tiny_model(config=CONFIG)
    starts = range(0, 193, STRIDE)
    some = Perplexity(model, TEXT, STRIDE, most_segments=2)
    # The window has 64 tokens: eight segments, eight, and the nine that are left.
    assert some.starts() == [0, 32, 64, 96, 128, 160]
    assert Perplexity(model, TEXT, STRIDE, most_segments=1000).starts() == [*starts]
    whole = {one.start: one for one in run_perplexity(Perplexity(model, TEXT, STRIDE), tmp_path / "all.jsonl")}
    found = run_perplexity(some, tmp_path / "some.jsonl")
    assert [one.start for one in found] == some.starts()
    assert all(one.loss == pytest.approx(whole[one.start].loss, rel=1e-5) for one in found)


def test_positions_double_and_the_mean_is_over_tokens() -> None:
    segments = [Segment(start, loss, 8) for start, loss in ((0, 1.0), (8, 2.0), (16, 3.0), (24, 5.0), (40, 4.0))]
    found = by_position(segments, first_end=16)
    assert [(one.start, one.end, one.count) for one in found] == [(0, 16, 16), (16, 32, 16), (32, 64, 8)]
    assert found[0].perplexity == pytest.approx(math.exp(1.5))
    assert found[1].interval == pytest.approx((math.exp(3), math.exp(5)))
    assert "| 16 to 32 | 54.60 | 20.09 to 148.41 | 16 |" in perplexity_table(found)


def test_one_segment_has_no_interval() -> None:
    found = by_position([Segment(0, 1.0, 8), Segment(8, 1.0, 8), Segment(16, 2.0, 8)], first_end=16)
    assert [(one.interval, one.num_segments) for one in found] == [(None, 2), (None, 1)]
    assert "| 16 to 32 | 7.39 | none, segments: 1 | 8 |" in perplexity_table(found)


@pytest.mark.parametrize("loss", [800.0, math.inf, math.nan])
def test_losses_of_a_broken_base_have_a_line(loss: float) -> None:
    [first, second] = by_position([Segment(0, 1.0, 8), Segment(8, 1.0, 8), Segment(16, loss, 8)], first_end=16)
    assert first.perplexity == pytest.approx(math.e)
    assert second.perplexity == pytest.approx(math.nan if math.isnan(loss) else math.inf, nan_ok=True)
    assert f"| 16 to 32 | {second.perplexity} |" in perplexity_table([first, second])


def test_what_cannot_be_scored_says_why() -> None:
    model = tiny_model(config=CONFIG)
    with pytest.raises(ConfigurationError, match="'cached'"):
        Perplexity(tiny_model(), TEXT, STRIDE)
    with pytest.raises(ConfigurationError, match="from 1 to half the window"):
        Perplexity(model, TEXT, 40)
    with pytest.raises(ConfigurationError, match="At least 1 segment"):
        Perplexity(model, TEXT, STRIDE, most_segments=0)
    with pytest.raises(InputError, match="less than two segments"):
        Perplexity(model, TEXT[:12], STRIDE)
    state = model.prefill(torch.tensor([TEXT]))
    with pytest.raises(WindowError):
        model._engine.score(state, [TEXT[:50]])
    with pytest.raises(StateError, match="already advanced"):
        model._engine.score(state, [TEXT[:2]])


def test_what_does_not_fit_is_said_before_anything_is_run() -> None:
    # So many candidates that the last segments have no room; the first ones would have had.
    with pytest.raises(WindowError, match="candidates"):
        Perplexity(tiny_model(config=replace(CONFIG, chunk_length=4)), TEXT, STRIDE)
    with pytest.raises(WindowError, match="A chunk of 60"):
        Perplexity(tiny_model(config=replace(CONFIG, chunk_length=60)), TEXT, STRIDE)
    # The base has no chunks.
    assert Perplexity(tiny_model(config=replace(CONFIG, chunk_length=4)), TEXT, STRIDE, by_base=True).text


@pytest.mark.parametrize("num_tokens", [64, 120])
def test_no_token_is_foreseen_from_itself(num_tokens: int) -> None:
    """A local context longer than all that comes before a segment would take its chunks from what comes behind."""
    model = tiny_model(config=replace(CONFIG, local_length=60))
    with pytest.raises(WindowError, match="local tokens"):
        Perplexity(model, TEXT[:num_tokens], STRIDE)
    text = SegmentedText(model, TEXT[:num_tokens], STRIDE)
    for start in text.starts():
        before = text.split(start)
        assert [token for part in (*before.chunks, before.local) for token in part] in (TEXT[:start], TEXT[:1])
    with pytest.raises(WindowError, match="local tokens"):
        ContinuationScorer(model, STRIDE).scores(TEXT[:57], [TEXT[57:65]])
