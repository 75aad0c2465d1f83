"""Settings: defaults of the paper, bounds, plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusllm import FocusConfig
from focusllm.errors import ConfigurationError


def test_the_defaults_are_the_paper_s() -> None:
    config = FocusConfig()
    assert (config.chunk_length, config.local_length, config.dynamic_prompt_length) == (2048, 2048, 512)
    assert (config.candidate_refresh, config.local_refresh, config.rank) == (1, "recompute", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chunk_length": 0}, "chunk_length"),
        ({"chunk_length": True}, "chunk_length"),
        ({"chunk_length": 8, "chunk_overlap": 8}, "chunk_overlap"),
        ({"chunk_overlap": -1}, "chunk_overlap"),
        ({"rank": -1}, "rank"),
        ({"candidate_refresh": -1}, "candidate_refresh"),
        ({"local_refresh": "sometimes"}, "recompute"),
        ({"candidate_projections": ("q", "x")}, "candidate_projections"),
        ({"candidate_projections": ()}, "candidate_projections"),
        ({"question_template": "Q:"}, "{question}"),
        ({"chunk_size": 3}, "chunk_length"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FocusConfig.from_dict(change)


@given(
    chunk=st.integers(1, 10_000),
    local=st.integers(1, 10_000),
    rank=st.none() | st.integers(1, 64),
    roles=st.lists(st.sampled_from("qkvo"), min_size=1),
)
def test_plain_values_and_back(chunk: int, local: int, rank: int | None, roles: list[str]) -> None:
    config = FocusConfig(chunk, local, 1, rank, tuple(roles))
    assert FocusConfig.from_dict(config.to_dict()) == config
    assert set(config.candidate_projections) == set(roles)
