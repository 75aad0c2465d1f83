"""Values that hand hidden states on: against numpy's least squares."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.families import attention_modules, backbone_of
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError
from focusllm.training.copying import copy_hidden_states
from tiny import FAMILY_NAMES, random_ids, tiny_base

TOKENS = torch.tensor([random_ids(40, seed) for seed in range(20)])
# Of the bases' three layers, the values of the last two are replaced; only the first of these sees what it saw before.
LAYER = 1
FUSED = ["gpt_neox", "phi3", "gpt2", "falcon", "gpt_bigcode"]


def value_projection(adapter: CandidateAdapter) -> Any:
    return adapter.projections.get(f"layers.{LAYER}.v") or adapter.projections[f"layers.{LAYER}.qkv"]


def inputs_and_states(base: Any, adapter: CandidateAdapter) -> tuple[np.ndarray, np.ndarray]:
    """What the attention of the layer sees, and the hidden state behind it, both (tokens, hidden)."""
    seen: list[torch.Tensor] = []
    hook = value_projection(adapter).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        states = backbone_of(base)(input_ids=TOKENS, output_hidden_states=True).hidden_states[LAYER]
    hook.remove()
    return seen[0].flatten(0, -2).double().numpy(), states.flatten(0, 1).double().numpy()


def candidate_layer(base: Any, adapter: CandidateAdapter) -> Any:
    """What the cache holds of the layer, were every token a candidate."""
    with torch.no_grad(), adapter.gate.open_at(torch.arange(TOKENS.numel())):
        return backbone_of(base)(input_ids=TOKENS, use_cache=True).past_key_values.layers[LAYER]


def candidate_values(base: Any, adapter: CandidateAdapter) -> torch.Tensor:
    """The values of the layer, were every token a candidate: (tokens, kv_heads, head_dim)."""
    return candidate_layer(base, adapter).values.transpose(1, 2).flatten(0, 1)


def output_weight(base: Any, adapter: CandidateAdapter) -> np.ndarray:
    output: Any = getattr(attention_modules(base, adapter.family)[LAYER], adapter.family.projections["o"])
    output = getattr(output, "base_layer", output)
    weight = output.weight.T if isinstance(output, Conv1D) else output.weight
    return weight.detach().double().numpy()


def reach_of(base: Any, adapter: CandidateAdapter, kv_heads: int, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """What the output projection makes of one position's values, (values, hidden), and where it can write."""
    heads = base.config.num_attention_heads // kv_heads
    one_each = np.eye(kv_heads * head_dim).reshape(-1, kv_heads, head_dim).repeat(heads, axis=1)
    written = one_each.reshape(kv_heads * head_dim, -1) @ output_weight(base, adapter).T
    left, sizes, _ = np.linalg.svd(written.T, full_matrices=False)
    return written, left[:, sizes > 0.05 * sizes[0]]


@pytest.mark.parametrize("family", [*FAMILY_NAMES, *FUSED])
def test_what_all_heads_attend_to_is_written_as_far_as_the_output_projection_reaches(family: str) -> None:
    base: Any = tiny_base(family, dtype=torch.float32)
    adapter = CandidateAdapter(base, FocusConfig())
    before = {name: parameter.clone() for name, parameter in adapter.parameters().items()}
    copy_hidden_states(base, adapter, TOKENS)
    after = adapter.parameters()
    changed = {name.split(".candidate")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {f"layers.{layer}.{'qkv' if family in FUSED else 'v'}" for layer in (LAYER, LAYER + 1)}
    seen, states = inputs_and_states(base, adapter)
    has_bias = value_projection(adapter).candidate_bias is not None
    columns = np.hstack((seen, np.ones((len(seen), 1)))) if has_bias else seen
    best = columns @ np.linalg.lstsq(columns, states, rcond=None)[0]
    values = candidate_values(base, adapter)
    written_by, basis = reach_of(base, adapter, *values.shape[1:])
    written = values.flatten(1).double().numpy() @ written_by
    wanted = best @ basis @ basis.T
    # A ridge keeps the solution from being all exact.
    assert np.linalg.norm(written - wanted) < 0.03 * np.linalg.norm(wanted)
    assert np.linalg.norm(states @ basis @ basis.T - written) < 0.6 * np.linalg.norm(wanted)


@pytest.mark.parametrize("family", ["gpt_neox", "phi3"])
def test_of_a_fused_projection_only_the_values_change(family: str) -> None:
    base: Any = tiny_base(family, dtype=torch.float32)
    adapter = CandidateAdapter(base, FocusConfig())
    before = candidate_layer(base, adapter)
    copy_hidden_states(base, adapter, TOKENS)
    after = candidate_layer(base, adapter)
    assert torch.equal(before.keys, after.keys)
    assert not torch.isclose(before.values, after.values).any(dim=(0, 2)).all()


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("rank", [4, 1000])
def test_low_rank_comes_as_near_as_its_rank_lets_it(family: str, rank: int) -> None:
    base: Any = tiny_base(family, dtype=torch.float32)
    adapter = CandidateAdapter(base, FocusConfig(rank=rank))
    by_base = candidate_values(base, adapter).flatten(1).double().numpy()
    copy_hidden_states(base, adapter, TOKENS)
    values = candidate_values(base, adapter)
    seen, states = inputs_and_states(base, adapter)
    written_by, _ = reach_of(base, adapter, *values.shape[1:])
    # What the base makes of a state of zeros stays: a low-rank difference has no bias of its own.
    constant = np.linalg.lstsq(np.hstack((seen, np.ones((len(seen), 1)))), by_base, rcond=None)[0][-1]
    best = seen @ np.linalg.lstsq(seen, states - constant @ written_by, rcond=None)[0]
    wanted = best @ np.linalg.pinv(written_by, rcond=0.05) + constant - by_base
    sizes = np.linalg.svd(wanted, compute_uv=False)
    found = values.flatten(1).double().numpy() - by_base
    missed = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert missed < np.sqrt((sizes[rank:] ** 2).sum() / (sizes**2).sum()) + 0.02
    assert rank > 4 or missed > 0.05


@pytest.mark.parametrize(("family", "roles"), [("llama", ("q", "k")), ("deepseek_v3", ("q", "k", "v", "o"))])
def test_candidates_without_values_of_their_own_are_refused(family: str, roles: tuple[str, ...]) -> None:
    base: Any = tiny_base(family, dtype=torch.float32)
    with pytest.raises(ConfigurationError, match="have 'v' among them"):
        copy_hidden_states(base, CandidateAdapter(base, FocusConfig(candidate_projections=roles)), TOKENS)
