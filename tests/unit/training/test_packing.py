"""The tensors of a packed batch, written out by hand."""

import math
from dataclasses import replace

import torch

from focusllm import FocusConfig
from focusllm.training.packing import IGNORED, TrainingExample, pack

CONFIG = FocusConfig(dynamic_prompt_length=2)
BOS = 1
EXAMPLE = TrainingExample(
    chunks=[[10, 11, 12], [13]],
    local=[20, 21, 22, 23, 24],
    cut=2,
    weights=[1.0, 1.0, 1.0, 2.0, 3.0],
    copies=[1.0, 4.0],
    slots=[0, 2],
    num_slots=3,
)


def test_an_example_becomes_rows_candidates_and_a_local_block() -> None:
    batch = pack([EXAMPLE], CONFIG, BOS)
    # The prompts end with 22 and, one token longer, with 23: the candidates of two sets.
    assert [row.tolist() for row in batch.rows] == [[10, 11, 12, BOS, 21, 22], [13, BOS, 21, 22]]
    assert batch.row_positions.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert batch.row_slots.tolist() == [0, 2]
    assert batch.row_bias.tolist() == [0.0, torch.tensor(math.log(4)).item()]
    assert batch.candidate_ids.tolist() == [22, 23, 22, 23]
    assert batch.candidate_rows.tolist() == [0, 0, 1, 1]
    assert batch.candidate_sets.tolist() == [0, 1, 0, 1]
    assert batch.candidate_positions.tolist() == [5, 6, 3, 4]
    assert batch.local_ids.tolist() == [BOS, 20, 21, 22, 23]
    assert batch.local_positions.tolist() == [3, 4, 5, 6, 7]
    assert batch.local_sets.tolist() == [0, 0, 0, 0, 1]
    assert batch.labels.tolist() == [IGNORED, IGNORED, IGNORED, 23, 24]
    assert batch.weights.tolist() == [0.0, 0.0, 0.0, 2.0, 3.0]
    assert batch.num_tokens == 10 + 4 + 5


def test_several_candidates_of_a_chunk_are_its_last_token_again() -> None:
    one, two = pack([EXAMPLE], CONFIG, BOS), pack([EXAMPLE], replace(CONFIG, candidates_per_chunk=2), BOS)
    assert two.row_ids.tolist() == one.row_ids.tolist()
    assert two.row_slots.tolist() == [0, 4]
    assert two.candidate_ids.tolist() == [22, 22, 23, 23, 22, 22, 23, 23]
    assert two.candidate_rows.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert two.candidate_sets.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert two.candidate_positions.tolist() == [5, 6, 6, 7, 3, 4, 4, 5]
    assert two.candidate_orders.tolist() == [0, 1] * 4
    assert two.local_positions.tolist() == [6, 7, 8, 9, 10]


def test_sets_that_no_token_sees_are_left_out() -> None:
    batch = pack([replace(EXAMPLE, candidate_refresh=0)], CONFIG, BOS)
    assert [row.tolist() for row in batch.rows] == [[10, 11, 12, BOS, 21], [13, BOS, 21]]
    assert batch.candidate_ids.tolist() == [22, 22]
    assert batch.local_sets.tolist() == [0, 0, 0, 0, 0]


def test_examples_lie_end_to_end() -> None:
    batch = pack([EXAMPLE, replace(EXAMPLE, chunks=[[14]], copies=[1.0], slots=[0])], CONFIG, BOS)
    assert batch.row_sequences.tolist() == [0, 0, 1]
    assert batch.row_numbers.tolist() == [0] * 6 + [1] * 4 + [2] * 4
    assert batch.candidate_rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.local_sequences.tolist() == [0] * 5 + [1] * 5
