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
# Over so many tokens no two outputs of a projection are the same.
_SIGNATURE = 16


@torch.no_grad()
def copy_hidden_states(base: PreTrainedModel, adapter: CandidateAdapter, rows: Iterable[Int[Tensor, " _"]]) -> None:
    """Let candidates of the upper half of the layers hand their hidden state on to whoever attends to them.

    Where one projection makes queries, keys and values, its values alone are replaced. Low-rank projections come as
    near to full ones as their rank lets them, over the states of the text.

    Args:
        base: The base the adapter is attached to.
        adapter: Candidate projections; the values of the upper layers are replaced.
        rows: Token ids of some texts, to see hidden states of; a few thousand tokens in all, more than the hidden size.

    Raises:
        ConfigurationError: Candidates have no value projection of their own, or one that makes values from what is
            not the hidden state.
    """
    attentions = attention_modules(base, adapter.family)
    values = {number: _values_of(adapter, number) for number in range(len(attentions) // 2, len(attentions))}
    cache: Any = None
    with _seen(base, adapter, values) as (seen, made):
        for token_ids in rows:
            cache = backbone_of(base)(input_ids=token_ids.unsqueeze(0), use_cache=True).past_key_values
    for number, value in values.items():
        cached = cache.layers[number].values[0, :, -_SIGNATURE:]
        whole = torch.arange(value.out_features, device=cached.device)
        places = whole if f"layers.{number}.v" in adapter.projections else _value_places(made[number], cached)
        written = _written_by_values(attentions[number], adapter.family.projections["o"], len(places), cached.shape[-1])
        _hand_on(value, places, written, *map(torch.cat, zip(*seen[number], strict=True)))


def _values_of(adapter: CandidateAdapter, layer: int) -> CandidateProjection:
    for role in ("v", "qkv"):
        if (value := adapter.projections.get(f"layers.{layer}.{role}")) is not None:
            return value
    raise ConfigurationError(
        f"`start: copy` needs candidates with values of their own, which {adapter.family.model_type} with these "
        f"`candidate_projections` has not: have 'v' among them, on a base that does not keep keys and values in a "
        f"compressed form (MLA); or leave `start` out."
    )


def _value_places(
    made: Float[Tensor, "tokens outputs"], cached: Float[Tensor, "kv_heads last_tokens head_dim"]
) -> Int[Tensor, " values"]:
    """Find which outputs of a projection are values, whatever their order: those that the cache holds."""
    values = cached.transpose(1, 2).flatten(0, 1)
    is_same = torch.ones(len(values), made.shape[1], dtype=torch.bool, device=made.device)
    for token in range(values.shape[1]):
        is_same &= values[:, token, None] == made[-values.shape[1] + token]
    if not is_same.any(dim=1).all():
        raise ConfigurationError("`start: copy` cannot tell which outputs of this base's projection are values.")
    return is_same.int().argmax(dim=1)


def _hand_on(
    value: CandidateProjection,
    places: Int[Tensor, " values"],
    written: Float[Tensor, "hidden values"],
    inputs: Float[Tensor, "tokens hidden"],
    states: Float[Tensor, "tokens hidden"],
) -> None:
    """Let a projection make values of ``inputs`` by which attention writes ``states``."""
    to_values = torch.linalg.pinv(written, rtol=_SMALLEST_DIRECTION)
    own_bias: Any = value.candidate_bias if value.rank is None else None
    base_bias: Any = getattr(value.base_layer, "bias", None)
    if value.rank is not None and base_bias is not None:
        # It stays, since a low-rank difference has no bias of its own.
        states = states - written @ base_bias.float()[places]
    weight, bias = _affine_map(inputs, states, has_bias=own_bias is not None)
    if value.rank is None:
        value.candidate_weight[places] = (to_values @ weight).to(value.candidate_weight.dtype)
    else:
        base_weight = dense_weight(value.base_layer, torch.float32).float()[places]
        up, down = _low_rank(to_values @ weight - base_weight, inputs, value.rank)
        # There may be fewer values than the rank.
        value.candidate_up[places, : up.shape[1]] = up.to(value.candidate_up.dtype)
        value.candidate_down[: down.shape[0]] = down.to(value.candidate_down.dtype)
    if own_bias is not None:
        own_bias[places] = (to_values @ bias).to(own_bias.dtype)


def _low_rank(
    weight: Float[Tensor, "values hidden"], inputs: Float[Tensor, "tokens hidden"], rank: int
) -> tuple[Float[Tensor, "values rank"], Float[Tensor, "rank hidden"]]:
    """Return the factors whose product does to the inputs what is nearest to the weight (reduced-rank regression)."""
    root = torch.linalg.cholesky(_moments(inputs))
    left, sizes, right = torch.linalg.svd(weight @ root, full_matrices=False)
    half = sizes[:rank].sqrt()
    down = torch.linalg.solve_triangular(root, half[:, None] * right[:rank], upper=False, left=False)
    return left[:, :rank] * half, down


@contextmanager
def _seen(
    base: PreTrainedModel, adapter: CandidateAdapter, values: Mapping[int, CandidateProjection]
) -> Iterator[tuple[dict[int, list[tuple[Tensor, Tensor]]], dict[int, Tensor]]]:
    """Gather, for some layers, what values are made from with the hidden state behind it, and what was made last."""
    layers = layers_of(base, adapter.family)
    hidden: dict[int, Tensor] = {}
    seen: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    made: dict[int, Tensor] = {}
    handles = []
    for number, value in values.items():

        def keep(_: nn.Module, arguments: Any, named: Any, number: int = number) -> None:
            hidden[number] = arguments[0] if arguments else named["hidden_states"]

        def pair(_: nn.Module, arguments: Any, output: Tensor, number: int = number) -> None:
            seen[number].append((arguments[0].flatten(0, -2).float(), hidden[number].flatten(0, -2).float()))
            made[number] = output.flatten(0, -2)

        handles.append(layers[number].register_forward_pre_hook(keep, with_kwargs=True))
        handles.append(value.register_forward_hook(pair))
    try:
        yield seen, made
    finally:
        for handle in handles:
            handle.remove()


def _written_by_values(
    attention: nn.Module, output_attribute: str, num_values: int, head_dim: int
) -> Float[Tensor, "hidden values"]:
    """Return what the output projection makes of the values of one position that all heads attend to alike."""
    output: Any = getattr(attention, output_attribute)
    weight = dense_weight(getattr(output, "base_layer", output), torch.float32).float()
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
    weight = torch.linalg.solve(_moments(centred), centred.T @ (outputs - output_mean) / len(inputs)).T
    return weight, output_mean - weight @ input_mean


def _moments(inputs: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "hidden hidden"]:
    moments = inputs.T @ inputs / len(inputs)
    return moments + _RIDGE * moments.diagonal().mean() * torch.eye(len(moments), device=moments.device)
