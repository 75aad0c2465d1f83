"""Pictures of evidence: whatever tokens say."""

import warnings
from pathlib import Path

from focusllm.evidence import draw_evidence


def test_tokens_are_drawn_as_they_are_and_nobody_is_warned(tmp_path: Path) -> None:
    tokens = ["$$", r"$\frac$", "谷"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_evidence(tokens, [[0.5, 0.5]] * len(tokens), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 0
