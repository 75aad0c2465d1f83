"""Candidate values that hand on what a candidate has found, to start training from. Source: ours.

A candidate that stands where the next token is due knows that token some layers before the last: it is in its
hidden state, as the base's own head would read it. To pass it on, the value projection and the base's frozen output
projection must together hand the hidden state through, and from the base's own values training takes thousands of
examples to find that. But it is a least-squares problem: for each upper layer it has a solution in closed form.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.families import attention_modules, backbone_of, layers_of
from focusllm.condensing.projections import CandidateProjection, dense_weight
from focusllm.errors import ConfigurationError

# Directions the output projection hardly writes to are left alone: reaching them would take huge values.
_SMALLEST_DIRECTION = 0.05
_RIDGE = 1e-4


@torch.no_grad()
def copy_hidden_states(
    base: PreTrainedModel, adapter: CandidateAdapter, rows: Iterable[Int[Tensor, " tokens"]]
) -> None:
    """Let candidates of the upper half of the layers hand their hidden state on to whoever attends to them.

    Args:
        base: The base the adapter is attached to.
        adapter: Full projections; the values of the upper layers are replaced.
        rows: Token ids of some texts, to see hidden states of; a few thousand tokens in all, more than the hidden size.

    Raises:
        ConfigurationError: Candidates have no full value projection of their own.
    """
    attentions = attention_modules(base, adapter.family)
    values = {number: _full_values(adapter, number) for number in range(len(attentions) // 2, len(attentions))}
    with _seen(base, adapter, values) as seen:
        for token_ids in rows:
            backbone_of(base)(input_ids=token_ids.unsqueeze(0), use_cache=False)
    for number, value in values.items():
        written = _written_by_values(attentions[number], adapter.family.projections["o"], value.out_features)
        own_bias: Any = value.candidate_bias
        weight, bias = _affine_map(*map(torch.cat, zip(*seen[number], strict=True)), has_bias=own_bias is not None)
        to_values = torch.linalg.pinv(written, rtol=_SMALLEST_DIRECTION)
        value.candidate_weight.copy_(to_values @ weight)
        if own_bias is not None:
            own_bias.copy_(to_values @ bias)


def _full_values(adapter: CandidateAdapter, layer: int) -> CandidateProjection:
    value = adapter.projections.get(f"layers.{layer}.v")
    if value is None or value.rank is not None:
        raise ConfigurationError(
            "`start: copy` needs candidates with full value projections of their own: set `rank: null` and have 'v' "
            "among `candidate_projections`, on a base that does not make values and queries by one projection; or "
            "leave `start` out."
        )
    return value


@contextmanager
def _seen(
    base: PreTrainedModel, adapter: CandidateAdapter, values: Mapping[int, CandidateProjection]
) -> Iterator[dict[int, list[tuple[Tensor, Tensor]]]]:
    """Gather, for some layers, what their values are made from and the hidden state behind it."""
    layers = layers_of(base, adapter.family)
    hidden: dict[int, Tensor] = {}
    seen: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    handles = []
    for number, value in values.items():

        def keep(_: nn.Module, arguments: Any, named: Any, number: int = number) -> None:
            hidden[number] = arguments[0] if arguments else named["hidden_states"]

        def pair(_: nn.Module, arguments: Any, number: int = number) -> None:
            seen[number].append((arguments[0].flatten(0, -2).float(), hidden[number].flatten(0, -2).float()))

        handles.append(layers[number].register_forward_pre_hook(keep, with_kwargs=True))
        handles.append(value.register_forward_pre_hook(pair))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _written_by_values(attention: nn.Module, output_attribute: str, num_values: int) -> Float[Tensor, "hidden values"]:
    """Return what the output projection makes of the values of one position that all heads attend to alike."""
    output: Any = getattr(attention, output_attribute)
    weight = dense_weight(getattr(output, "base_layer", output), torch.float32).float()
    head_dim: int = attention.head_dim  # type: ignore[assignment]
    # Heads that share values stand side by side.
    by_head = weight.unflatten(1, (num_values // head_dim, -1, head_dim))
    return by_head.sum(dim=2).flatten(1)


def _affine_map(
    inputs: Float[Tensor, "tokens hidden"], outputs: Float[Tensor, "tokens hidden"], *, has_bias: bool
) -> tuple[Float[Tensor, "hidden hidden"], Float[Tensor, " hidden"]]:
    """Fit ``outputs = weight @ inputs + bias`` by least squares; without a bias that is zero."""
    input_mean = inputs.mean(dim=0) if has_bias else torch.zeros_like(inputs[0])
    output_mean = outputs.mean(dim=0) if has_bias else torch.zeros_like(outputs[0])
    centred = inputs - input_mean
    moments = centred.T @ centred / len(inputs)
    ridge = _RIDGE * moments.diagonal().mean() * torch.eye(len(moments), device=moments.device)
    weight = torch.linalg.solve(moments + ridge, centred.T @ (outputs - output_mean) / len(inputs)).T
    return weight, output_mean - weight @ input_mean
