"""What the loss log says of each kind of data, against passes over that kind alone."""

from dataclasses import replace

import pytest
import torch

from focusllm import FocusConfig
from focusllm.condensing.attach import CandidateAdapter
from focusllm.training.objective import FocusObjective
from focusllm.training.packing import TrainingExample, pack
from focusllm.training.tally import Tally
from tiny import random_ids, tiny_base

CONFIG = FocusConfig(chunk_length=16, local_length=12, dynamic_prompt_length=8)


def example(seed: int, source: int) -> TrainingExample:
    chunks = [random_ids(16, seed), random_ids(9, seed + 1)]
    weights = [1.0 + position % 3 for position in range(10)]
    return TrainingExample(chunks, random_ids(10, seed + 2), 4 + source, weights, [1.0, 1.0], [0, 1], 2, source=source)


def test_each_kind_has_the_loss_it_would_have_alone() -> None:
    base = tiny_base("llama", torch.float32)
    objective = FocusObjective(base, CandidateAdapter(base, CONFIG))
    # The first and the last source are of one kind.
    batches = [[example(0, 0), example(5, 1)], [example(9, 2)]]
    tally = Tally(["facts", "continuation", "facts"], torch.device("cpu"))
    for examples in batches:
        batch = pack(examples, CONFIG, None)
        tally.add(batch, objective(batch))
    entry = tally.entry(lambda numbers: numbers)
    for name, sources in (("facts", (0, 2)), ("continuation", (1,))):
        alone = pack([e for examples in batches for e in examples if e.source in sources], CONFIG, None)
        assert entry[f"loss_{name}"] == pytest.approx(objective(alone).loss.item(), rel=1e-5)
    assert tally.is_empty


def test_one_kind_is_not_said_twice_and_figures_are_summed_over_processes() -> None:
    base = tiny_base("llama", torch.float32)
    objective = FocusObjective(base, CandidateAdapter(base, CONFIG))
    batch = pack([replace(example(0, 0), cut=7)], CONFIG, None)
    one, two = Tally(["facts"], torch.device("cpu")), Tally(["facts"], torch.device("cpu"))
    result = objective(batch)
    one.add(batch, result)
    two.add(batch, result)
    entry, doubled = one.entry(lambda numbers: numbers), two.entry(lambda numbers: 2 * numbers)
    assert not [name for name in entry if name.startswith("loss_")]
    assert entry["accuracy"] == doubled["accuracy"] == round(result.is_right.float().mean().item(), 4)
    assert entry["peak_memory_gb"] > 0
