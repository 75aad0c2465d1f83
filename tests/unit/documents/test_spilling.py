"""What questions put behind chunks waits in a file that nobody sees, and takes no more of it than it needs."""

import os
from pathlib import Path

import pytest
import torch

from focusllm.cache.homes import LayerTensors
from focusllm.documents.spilling import SpillFile


def layers(tokens: int, seed: int, dtype: torch.dtype = torch.float32) -> LayerTensors:
    random = torch.Generator().manual_seed(seed)
    # Longer than they look: what is kept are views of caches with room behind them.
    stores = [torch.randn(2, 3, tokens + 5, width, generator=random).to(dtype) for width in (4, 6)]
    return [(stores[0][..., 5:, :], stores[1][..., 5:, :])] * 2


def are_equal(found: LayerTensors, wanted: LayerTensors) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all(torch.equal(f, w) for mine, theirs in pairs for f, w in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_put_comes_back_bit_for_bit_and_leaves_no_name(tmp_path: Path, dtype: torch.dtype) -> None:
    spill = SpillFile(tmp_path)
    given = [layers(tokens, tokens, dtype) for tokens in (1, 70, 9)]
    kept = [spill.put(some) for some in given]
    for some, wanted in reversed(list(zip(kept, given, strict=True))):
        [found] = some.parts()
        assert are_equal(found, wanted)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(spill._file.fileno()).st_mode & 0o077 == 0


def test_places_that_nothing_is_kept_at_are_used_again(tmp_path: Path) -> None:
    spill = SpillFile(tmp_path)
    kept = [spill.put(layers(8, seed)) for seed in range(4)]
    end = spill._end
    for seed in range(4, 20):
        # Put back before the old one is let go of, as a batch is that grew by a token.
        kept[seed % 4] = spill.put(layers(8, seed))
    assert spill._end <= end * 5 // 4
    for some, seed in zip(kept, range(16, 20), strict=True):
        [found] = some.parts()
        assert are_equal(found, layers(8, seed))


def test_where_the_folder_may_not_be_written_it_is_elsewhere(tmp_path: Path) -> None:
    given = layers(3, seed=1)
    [found] = SpillFile(tmp_path / "not there").put(given).parts()
    assert are_equal(found, given)
