"""Equality 6 and 8: the packed training pass is decoding, token by token, and reaches adapter parameters only."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from focusllm import FocusModel
from focusllm.checking.families import decoded_losses
from focusllm.training.objective import FocusObjective, Objective
from focusllm.training.packing import PackedBatch, TrainingExample, pack
from tiny import BOS, FAMILY_NAMES, SMALL, random_ids, tiny_base, tiny_model

CONFIG = replace(SMALL, local_refresh="cached", local_length=14, dynamic_prompt_length=8)


def example(num_chunks: int, local: int, cut: int, seed: int) -> TrainingExample:
    lengths = [12] * (num_chunks - 1) + [5]
    return TrainingExample(
        chunks=[random_ids(length, seed * 50 + i) for i, length in enumerate(lengths)],
        local=random_ids(local, seed * 50 + 40),
        cut=cut,
        weights=[1.0 + 0.5 * (i % 3) for i in range(local)],
        copies=[1.0] * num_chunks,
        slots=list(range(num_chunks)),
        num_slots=num_chunks,
    )


EXAMPLES = [example(3, 14, 9, seed=1), example(5, 11, 10 - 4, seed=2), example(1, 14, 12, seed=3)]


def packed(examples: list[TrainingExample], config: object = CONFIG) -> PackedBatch:
    return pack(examples, config, BOS)  # type: ignore[arg-type]


def packed_like_decoding(
    model: FocusModel, examples: list[TrainingExample], tolerance: float
) -> tuple[Objective, torch.Tensor]:
    """Hold the packed pass to decoding, in terms of the largest loss; return its result and decoding's losses."""
    result = FocusObjective(model.base, model.adapter)(packed(examples, model.config))
    wanted = torch.cat([decoded_losses(model, one) for one in examples])
    assert (result.token_losses - wanted).abs().max() <= tolerance * wanted.max()
    return result, wanted


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("chunk_bos", [False, True])
def test_packed_losses_are_those_of_decoding(family: str, chunk_bos: bool) -> None:
    config = replace(CONFIG, chunk_bos=chunk_bos)
    result, wanted = packed_like_decoding(tiny_model(family, config), EXAMPLES, 1e-6)
    weights = torch.cat([torch.tensor(one.weights[one.cut + 1 :]) for one in EXAMPLES])
    assert result.loss.item() == pytest.approx(((wanted * weights).sum() / weights.sum()).item(), rel=1e-6)


@pytest.mark.parametrize("candidate_refresh", [0, 2, 3])
def test_packed_losses_are_those_of_decoding_at_every_refresh_interval(candidate_refresh: int) -> None:
    config = replace(CONFIG, candidate_refresh=candidate_refresh)
    shown = [replace(one, candidate_refresh=candidate_refresh) for one in EXAMPLES]
    packed_like_decoding(tiny_model(config=config), shown, 1e-6)


def test_packed_losses_are_those_of_decoding_behind_a_static_prompt() -> None:
    config = replace(CONFIG, static_prompt=(7, 9, 8), candidate_refresh=0)
    shown = [replace(one, candidate_refresh=0) for one in EXAMPLES]
    packed_like_decoding(tiny_model(config=config), shown, 1e-6)


@pytest.mark.parametrize("candidate_refresh", [0, 1, 2])
def test_packed_losses_are_those_of_decoding_with_several_candidates_a_chunk(candidate_refresh: int) -> None:
    config = replace(CONFIG, candidates_per_chunk=3, candidate_refresh=candidate_refresh)
    shown = [replace(one, candidate_refresh=candidate_refresh) for one in EXAMPLES]
    packed_like_decoding(tiny_model(config=config), shown, 1e-6)


@pytest.mark.parametrize("candidate_refresh", [0, 1, 3])
def test_no_token_that_goes_through_the_base_is_padding(candidate_refresh: int) -> None:
    """What goes through the base is counted inside it, and is what the method needs of the examples, each by itself."""
    model = tiny_model(config=CONFIG)
    passed: list[int] = []
    seen: list[torch.Tensor] = []
    layer: Any = model.base.model.layers[1]
    layer.mlp.register_forward_hook(lambda _, given, out: passed.append(out.shape[:-1].numel()))
    model.base.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten()))
    examples = [replace(one, candidate_refresh=candidate_refresh) for one in EXAMPLES]
    batch = packed(examples)
    FocusObjective(model.base, model.adapter)(batch)
    rows = candidates = locals_ = 0
    for one in examples:
        last = len(one.local) - 2
        made = {0: [one.cut]}.get(candidate_refresh) or list(range(one.cut, last + 1, candidate_refresh))
        # BOS, and the prompt up to the last candidate.
        prompt = 1 + made[-1] - max(one.cut + 1 - model.config.dynamic_prompt_length, 0)
        rows += sum(len(chunk) + prompt for chunk in one.chunks)
        candidates += len(one.chunks) * len(made)
        locals_ += 1 + last + 1
    assert passed == [rows, candidates + locals_]
    assert batch.num_tokens == sum(passed)
    # No example has the token 0.
    assert [len(ids) for ids in seen] == passed
    assert all((ids > 0).all() for ids in seen)


def test_examples_of_very_different_sizes_share_a_batch() -> None:
    """Losses are those of each alone; gradients are theirs, too, weighed as the losses are."""
    examples = [example(9, 14, 3, seed=4), replace(example(1, 2, 0, seed=5), chunks=[[9, 10, 11]]), *EXAMPLES]
    model = tiny_model("gemma", CONFIG)
    objective = FocusObjective(model.base, model.adapter)
    together = objective(packed(examples))
    together.loss.backward()
    parameters = model.adapter.parameters()
    gradients = {name: value.grad for name, value in parameters.items()}
    objective.zero_grad()
    total = sum(sum(one.weights[one.cut + 1 :]) for one in examples)
    losses = []
    for one in examples:
        alone = objective(packed([one]))
        losses.append(alone.token_losses)
        (alone.loss * sum(one.weights[one.cut + 1 :]) / total).backward()
    assert (together.token_losses - torch.cat(losses)).abs().max() <= 1e-9
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(gradient, parameters[name].grad, rtol=1e-6, atol=1e-12), name


def test_later_tokens_do_not_leak_into_earlier_losses() -> None:
    model = tiny_model(config=CONFIG)
    objective = FocusObjective(model.base, model.adapter)
    one = EXAMPLES[0]
    changed = replace(one, local=[*one.local[:-1], (one.local[-1] + 1) % 90 + 3])
    before, after = objective(packed([one])).token_losses, objective(packed([changed])).token_losses
    assert torch.equal(before[:-1], after[:-1])
    assert before[-1] != after[-1]


def test_copies_count_as_that_many_chunks() -> None:
    """Weighing a chunk twice is what two equal chunks at its position would be."""
    model = tiny_model(config=CONFIG)
    objective = FocusObjective(model.base, model.adapter)
    one = EXAMPLES[0]
    twice = replace(one, chunks=[one.chunks[0], *one.chunks], slots=[0, 0, 1, 2], copies=[1.0] * 4)
    weighed = replace(one, copies=[2.0, 1.0, 1.0])
    assert torch.allclose(objective(packed([twice])).token_losses, objective(packed([weighed])).token_losses)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("rank", [None, 2])
def test_every_adapter_parameter_and_no_other_gets_gradients(family: str, rank: int | None) -> None:
    model = tiny_model(family, replace(CONFIG, rank=rank))
    FocusObjective(model.base, model.adapter)(packed(EXAMPLES)).loss.backward()
    own = {id(parameter) for parameter in model.adapter.parameters().values()}
    # The bias of a key shifts all scores of a query alike where no rotation follows; here every key is rotated.
    for name, parameter in model.adapter.parameters().items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for parameter in model.base.parameters() if id(parameter) not in own)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_gradient_checkpointing_changes_nothing(family: str) -> None:
    gradients = []
    for uses_checkpoints in (False, True):
        model = tiny_model(family, CONFIG)
        objective = FocusObjective(model.base, model.adapter).train()
        if uses_checkpoints:
            objective.activation_checkpointing_enable()
        objective(packed(EXAMPLES)).loss.backward()
        assert model.base.config._attn_implementation == tiny_base(family).config._attn_implementation
        assert model.adapter.gate.index is None
        gradients.append({name: p.grad for name, p in model.adapter.parameters().items()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-12), name


def test_names_of_before_are_still_taken() -> None:
    """What Trainers of other versions of transformers call, with the argument they give."""
    model = tiny_model(config=CONFIG)
    objective = FocusObjective(model.base, model.adapter).train()
    objective.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"preserve_rng_state": False})
    layer: Any = model.base.model.layers[0]
    assert layer.gradient_checkpointing


def test_supervising_the_last_position_is_one_loss_a_sequence() -> None:
    model = tiny_model(config=CONFIG)
    one = EXAMPLES[0]
    last = replace(one, local=one.local[: one.cut + 2], weights=one.weights[: one.cut + 2])
    result = FocusObjective(model.base, model.adapter)(packed([last]))
    assert result.token_losses.shape == (1,)
    assert torch.allclose(result.token_losses, decoded_losses(model, one)[:1])
