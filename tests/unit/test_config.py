"""Settings: defaults of the paper, bounds, plain values."""

from typing import Any

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
        ({"rank": -1}, "`rank` must be a positive number, or left out for full projections; got -1"),
        ({"candidate_refresh": -1}, "candidate_refresh"),
        ({"local_refresh": "sometimes"}, "recompute"),
        ({"candidate_projections": ("q", "x")}, "candidate_projections"),
        ({"candidate_projections": ()}, "candidate_projections"),
        ({"question_template": "Q:"}, "{question}"),
        ({"chunk_size": 3}, "chunk_length"),
        ({"chunk_overlap": "3"}, "chunk_overlap"),
        ({"chunk_overlap": 1.5}, "chunk_overlap"),
        ({"candidate_refresh": "1"}, "candidate_refresh"),
        ({"candidate_refresh": 1.5}, "candidate_refresh"),
        ({"candidate_refresh": None}, "candidate_refresh"),
        ({"candidate_refresh": 4, "focus_share": "0.9"}, "focus_share"),
        ({"candidate_projections": "qk"}, "`candidate_projections` must be a list of texts"),
        ({"candidate_projections": 3}, "`candidate_projections` must be a list of texts"),
        ({"insert_bos": "no"}, "`insert_bos` must be true or false; got 'no'"),
        ({"chunk_bos": 1}, "`chunk_bos` must be true or false"),
        ({"question_template": 5}, "`question_template` must be a text"),
        ({"answer_stops": "END"}, "`answer_stops` must be a list of texts; got 'END'"),
        ({"answer_stops": [""]}, "`answer_stops` must be a list of texts"),
        ({"static_prompt": [5, 6]}, "set `candidate_refresh` to 0"),
        ({"static_prompt": [5], "candidate_refresh": 0, "focus_share": 0.9}, "leave out `focus_share`"),
        ({"static_prompt": "summary"}, "`static_prompt` must be a list of"),
        (["chunk_length"], "given by name"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_name(change: Any, words: str) -> None:
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
