"""Values that hand hidden states on: against numpy's least squares, layer by layer."""

from typing import Any

import numpy as np
import pytest
import torch

from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.families import attention_modules, backbone_of
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError
from focusllm.training.copying import copy_hidden_states
from tiny import FAMILY_NAMES, random_ids, tiny_base

TOKENS = torch.tensor([random_ids(40, seed) for seed in range(20)])


def inputs_and_states(base: Any, adapter: CandidateAdapter, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """What the attention of a layer sees, and the hidden state behind it, both (tokens, hidden)."""
    seen: list[torch.Tensor] = []
    hook = adapter.projections[f"layers.{layer}.v"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        states = backbone_of(base)(input_ids=TOKENS, output_hidden_states=True).hidden_states[layer]
    hook.remove()
    return seen[0].flatten(0, 1).double().numpy(), states.flatten(0, 1).double().numpy()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_what_all_heads_attend_to_is_written_as_far_as_the_output_projection_reaches(family: str) -> None:
    base: Any = tiny_base(family, dtype=torch.float32)
    adapter = CandidateAdapter(base, FocusConfig())
    before = {name: projection.candidate_weight.clone() for name, projection in adapter.projections.items()}
    copy_hidden_states(base, adapter, TOKENS)
    for layer, attention in enumerate(attention_modules(base, adapter.family)):
        value: Any = adapter.projections[f"layers.{layer}.v"]
        if layer < 1:
            assert torch.equal(value.candidate_weight, before[f"layers.{layer}.v"])
            continue
        seen, states = inputs_and_states(base, adapter, layer)
        has_bias = value.candidate_bias is not None
        columns = np.hstack((seen, np.ones((len(seen), 1)))) if has_bias else seen
        best = columns @ np.linalg.lstsq(columns, states, rcond=None)[0]
        output: Any = getattr(attention, adapter.family.projections["o"])
        weight = getattr(output, "base_layer", output).weight.detach().double().numpy()
        heads = base.config.num_attention_heads // base.config.num_key_value_heads
        given = torch.tensor(seen, dtype=torch.float32)
        values = torch.nn.functional.linear(given, value.candidate_weight, value.candidate_bias).detach()
        by_head = values.unflatten(1, (-1, attention.head_dim)).repeat_interleave(heads, dim=1).flatten(1)
        written = by_head.double().numpy() @ weight.T
        # Where the output projection can write at all.
        one_head = np.eye(values.shape[1]).reshape(values.shape[1], -1, attention.head_dim).repeat(heads, axis=1)
        reach = np.linalg.svd((one_head.reshape(values.shape[1], -1) @ weight.T).T, full_matrices=False)
        basis = reach[0][:, reach[1] > 0.05 * reach[1][0]]
        wanted = best @ basis @ basis.T
        assert np.linalg.norm(written - wanted) < 0.02 * np.linalg.norm(wanted)
        assert np.linalg.norm(states @ basis @ basis.T - written) < 0.6 * np.linalg.norm(wanted)


@pytest.mark.parametrize("config", [FocusConfig(rank=2), FocusConfig(candidate_projections=("q", "k"))])
def test_candidates_without_full_values_are_refused(config: FocusConfig) -> None:
    base: Any = tiny_base(dtype=torch.float32)
    with pytest.raises(ConfigurationError, match="rank: null"):
        copy_hidden_states(base, CandidateAdapter(base, config), TOKENS)
