"""Equality 4 and 10: what goes through the base together never changes a result."""

import pytest
import torch

from focusllm import FocusModel
from tiny import SMALL, random_ids, tiny_base, tiny_model

LENGTHS = (75, 30, 101, 60, 65, 88)


def padded(sequences: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, sequences))
    ids, mask = [], []
    for sequence in sequences:
        padding = [0] * (length - len(sequence))
        kept = [1] * len(sequence)
        ids.append(padding + sequence if side == "left" else sequence + padding)
        mask.append(padding + kept if side == "left" else kept + padding)
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("local_refresh", ["recompute", "cached"])
def test_a_batch_equals_each_sequence_alone(side: str, local_refresh: str) -> None:
    model = tiny_model().configure(local_refresh=local_refresh)
    sequences = [random_ids(length, seed) for seed, length in enumerate(LENGTHS)]
    steps = [random_ids(len(LENGTHS), seed=100 + step) for step in range(3)]
    ids, mask = padded(sequences, side)
    together = model.prefill(ids, mask)
    alone = [model.prefill(torch.tensor([sequence])) for sequence in sequences]
    assert together.num_chunks == [6, 0, 8, 0, 5, 7]
    for step in [None, *steps]:
        if step is not None:
            together = model.step(together, torch.tensor(step))
            alone = [model.step(state, torch.tensor([token])) for state, token in zip(alone, step, strict=True)]
        difference = (together.logits - torch.cat([state.logits for state in alone])).abs().max()
        assert difference <= 1e-12


@pytest.mark.parametrize("max_parallel_chunks", [1, 2, 3, 100])
def test_any_number_of_parallel_chunks_gives_the_same(max_parallel_chunks: int) -> None:
    ids = torch.tensor([random_ids(100)])
    wanted = tiny_model().prefill(ids)
    base_model = tiny_model()
    model = FocusModel(base_model.detach(), SMALL, max_parallel_chunks=max_parallel_chunks).eval()
    for name, parameter in model.adapter.parameters().items():
        parameter.data.copy_(base_model.adapter.parameters()[name])
    state = model.prefill(ids)
    assert (state.logits - wanted.logits).abs().max() <= 1e-12
    assert max(len(batch.places) for batch in state.chunks.batches) <= max_parallel_chunks


def test_chunks_do_not_see_each_other() -> None:
    """A chunk's candidate depends on its own tokens only, whatever stands in the other chunks."""
    model = tiny_model()
    first, second = random_ids(75), random_ids(75)
    second[:12] = random_ids(12, seed=9)
    states = [model.prefill(torch.tensor([ids])) for ids in (first, second)]
    keys = [state.locals[0].candidates.layers[2][0] for state in states]  # type: ignore[union-attr]
    assert torch.equal(keys[0][:, :, 1:], keys[1][:, :, 1:])
    assert not torch.allclose(keys[0][:, :, 0], keys[1][:, :, 0])


def test_generate_equals_the_base_s_generate_within_the_window() -> None:
    ids = torch.tensor([random_ids(40)])
    base = tiny_base("qwen2", torch.float32)
    wanted = base.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert torch.equal(tiny_model("qwen2", dtype=torch.float32).generate(ids, max_new_tokens=8), wanted)
