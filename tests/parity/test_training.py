"""Equality 6 and 8: the packed training pass is decoding, token by token, and reaches adapter parameters only."""

from dataclasses import replace

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


def test_supervising_the_last_position_is_one_loss_a_sequence() -> None:
    model = tiny_model(config=CONFIG)
    one = EXAMPLES[0]
    last = replace(one, local=one.local[: one.cut + 2], weights=one.weights[: one.cut + 2])
    result = FocusObjective(model.base, model.adapter)(packed([last]))
    assert result.token_losses.shape == (1,)
    assert torch.allclose(result.token_losses, decoded_losses(model, one)[:1])
