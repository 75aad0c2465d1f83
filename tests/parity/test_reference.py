"""Equality 3 and 5: the library computes what the equations say, for every family, policy and precision."""

from dataclasses import replace

import pytest
import torch

from focusllm import FocusConfig, FocusModel
from focusllm.errors import WindowError
from tiny import BOS, FAMILY_NAMES, SMALL, published_names, random_ids, reference_of, tiny_base, tiny_model

# Rotary angles are computed in single precision by transformers, whatever the model's own.
EXACT = 1e-6
POLICIES = [
    replace(SMALL, candidate_refresh=refresh, local_refresh=local)
    for refresh in (1, 3, 0)
    for local in ("recompute", "cached")
]


def decode(model: FocusModel, ids: list[int], following: list[int]) -> list[torch.Tensor]:
    """Return the scores at prefill and after each of the following tokens."""
    state = model.prefill(torch.tensor([ids]))
    scores = [state.logits[0]]
    for token in following:
        state = model.step(state, torch.tensor([token]))
        scores.append(state.logits[0])
    return scores


def expected(model: FocusModel, ids: list[int], following: list[int]) -> list[torch.Tensor]:
    boundary = len(ids) - model.config.local_length
    length = model.config.chunk_length
    overlap = model.config.chunk_overlap
    chunks = [ids[max(start - overlap, 0) : min(start + length, boundary)] for start in range(0, boundary, length)]
    reference = reference_of(model)
    with torch.no_grad():
        return [reference.logits(chunks, ids[boundary:], following[:t]) for t in range(len(following) + 1)]


def largest_difference(model: FocusModel, seed: int = 0, num_tokens: int = 75, steps: int = 9) -> float:
    ids, following = random_ids(num_tokens, seed), random_ids(steps, seed + 1)
    found, wanted = decode(model, ids, following), expected(model, ids, following)
    return max((f - w).abs().max().item() for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_every_family_equals_the_reference(family: str, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model(family, dtype=dtype)
    scale = 1.0 if dtype == torch.float64 else max(1.0, decode(model, random_ids(75), [])[0].abs().max().item())
    assert largest_difference(model) <= tolerance * scale


@pytest.mark.parametrize("config", POLICIES, ids=lambda c: f"{c.candidate_refresh}-{c.local_refresh}")
def test_every_policy_equals_the_reference(config: FocusConfig) -> None:
    assert largest_difference(tiny_model(config=config)) <= EXACT


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, rank=3),
        replace(SMALL, candidate_projections=("k", "v")),
        replace(SMALL, chunk_bos=True),
        replace(SMALL, chunk_overlap=5),
        replace(SMALL, insert_bos=False),
        replace(SMALL, chunk_length=2, local_length=5, dynamic_prompt_length=1),
        replace(SMALL, static_prompt=(7, 9, 8), candidate_refresh=0),
        replace(SMALL, static_prompt=tuple(random_ids(20)), candidate_refresh=0, local_refresh="cached"),
        replace(SMALL, candidates_per_chunk=3),
        replace(SMALL, candidates_per_chunk=2, candidate_refresh=2, local_refresh="cached"),
        replace(SMALL, candidates_per_chunk=4, candidate_refresh=0, rank=3, dynamic_prompt_length=2),
    ],
    ids=[
        "low-rank", "keys-and-values", "chunk-bos", "overlap", "no-bos", "tiny-chunks", "static", "long-static",
        "three-candidates", "two-candidates-cached", "more-than-prompt",
    ],
)  # fmt: skip
def test_every_option_equals_the_reference(config: FocusConfig) -> None:
    assert largest_difference(tiny_model(config=config), num_tokens=70, steps=3) <= EXACT


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_published_weights_decode_as_the_reference_does(dtype: torch.dtype) -> None:
    """A base whose scores have the size of a real model's: the tolerance is absolute."""
    state = published_names(tiny_model("llama", dtype=dtype))
    base = tiny_base("llama", dtype)
    with torch.no_grad():
        base.lm_head.weight.div_(4)
    model = FocusModel(base, SMALL).eval()
    model.load_published_weights(state)
    assert largest_difference(model) <= 1e-5


def test_a_text_is_read_in_chunks_that_fit_the_window_whoever_cuts_it() -> None:
    growing = replace(SMALL, chunk_length=1, longest_chunk=4)
    model, twice = tiny_model(config=growing), tiny_model(config=replace(SMALL, chunk_length=2))
    ids = random_ids(75)
    for found, wanted in zip(decode(model, ids, [5]), decode(twice, ids, [5]), strict=True):
        assert torch.equal(found, wanted)
    assert model.index(ids).num_chunks == twice.index(ids).num_chunks == 38
    assert model.estimate(75, question_tokens=5, max_new_tokens=1).num_chunks == 38
    with pytest.raises(WindowError, match="`chunk_length` of at least"):
        model.configure(longest_chunk=None)(torch.tensor([ids]))


def test_local_context_that_starts_with_bos_gets_no_second_one() -> None:
    model = tiny_model()
    ids = random_ids(75)
    ids[-SMALL.local_length] = BOS
    found = decode(model, ids, random_ids(2, 5))
    wanted = expected(model, ids, random_ids(2, 5))
    assert max((f - w).abs().max().item() for f, w in zip(found, wanted, strict=True)) <= EXACT


@pytest.mark.parametrize("rope", ["linear", "yarn", "llama3"])
def test_scaled_rotary_positions_equal_the_reference(rope: str) -> None:
    parameters = {"rope_type": rope, "rope_theta": 10000.0, "factor": 4.0}
    if rope != "linear":
        parameters["original_max_position_embeddings"] = 16
    if rope == "llama3":
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    assert largest_difference(tiny_model(rope_parameters=parameters), steps=3) <= EXACT


def test_bfloat16_is_as_exact_as_the_base_itself() -> None:
    """The error against fp64 is at most twice the base's own error on a sequence of its window."""
    exact, rounded = tiny_model(dtype=torch.float64), tiny_model(dtype=torch.bfloat16)
    ids, following = random_ids(75), random_ids(8, 1)
    error = max(
        (f - w).abs().mean().item()
        for f, w in zip(decode(rounded, ids, following), decode(exact, ids, following), strict=True)
    )
    short = torch.tensor([random_ids(60)])
    with exact.disabled() as exact_base, rounded.disabled() as rounded_base, torch.no_grad():
        own = (rounded_base(short).logits - exact_base(short).logits).abs().mean(-1).max().item()
    assert error <= 2 * own
