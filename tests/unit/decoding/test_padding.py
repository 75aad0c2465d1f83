"""What is taken for a batch of token ids, and what is not."""

from typing import Any

import pytest
import torch

from focusllm.decoding.padding import unpadded_rows
from focusllm.errors import InputError

IDS = torch.tensor([[5, 6, 7], [8, 9, 4]])


def test_padding_is_dropped_on_either_side() -> None:
    assert unpadded_rows(IDS, torch.tensor([[0, 1, 1], [1, 1, 0]]), 10) == [[6, 7], [8, 9]]
    assert unpadded_rows(IDS.int(), None, 10) == IDS.tolist()


@pytest.mark.parametrize("ids", [IDS[0], IDS[:0], IDS.float(), IDS.tolist()], ids=("row", "none", "float", "list"))
def test_what_is_no_batch_of_token_ids_is_refused(ids: Any) -> None:
    with pytest.raises(InputError, match=r"`input_ids` must be a tensor of token ids, \(batch, sequence\)"):
        unpadded_rows(ids, None, 10)


@pytest.mark.parametrize("mask", [[[1, 1, 1], [1, 1, 1]], torch.ones(2, 2)], ids=("list", "narrow"))
def test_what_is_no_mask_of_the_batch_is_refused(mask: Any) -> None:
    with pytest.raises(
        InputError, match=r"must be a tensor in the shape of `input_ids`, \(2, 3\); got (list|\(2, 2\))"
    ):
        unpadded_rows(IDS, mask, 10)


def test_tokens_beyond_the_vocabulary_are_refused_unless_they_are_padding() -> None:
    strange = torch.tensor([[-100, 6, 7], [8, 9, 10]])
    assert unpadded_rows(strange, torch.tensor([[0, 1, 1], [1, 1, 0]]), 10) == [[6, 7], [8, 9]]
    for row, found in ((strange[:1], -100), (strange[1:], 10)):
        with pytest.raises(InputError, match=f"Token {found} is not in the base's vocabulary, .* from 0 to 9:"):
            unpadded_rows(row, None, 10)
