"""Equality 7: a key moved to a position is the key computed there, for every kind of rotary embedding."""

import pytest
import torch

from focusllm.condensing.families import attention_modules, family_of, key_mover_of
from focusllm.condensing.family_table import FAMILIES
from tiny import ALL_FAMILY_NAMES, random_ids, tiny_base

ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
}  # fmt: skip


def first_layer_keys(base: torch.nn.Module, positions: torch.Tensor) -> torch.Tensor:
    """What has positions in the first layer's cache, as the base itself computes it at these positions."""
    ids = torch.tensor([random_ids(positions.shape[1])])
    with torch.no_grad():
        cache = base(ids, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=True).past_key_values
    return cache.layers[0].values if family_of(base).rotates_values else cache.layers[0].keys


ROTARY = [name for name in ALL_FAMILY_NAMES if FAMILIES[name].rotary or FAMILIES[name].rotary_table]


@pytest.mark.parametrize("family", ROTARY)
@pytest.mark.parametrize("shift", [-7, 0, 5, 40])
def test_moved_keys_equal_computed_keys(family: str, shift: int) -> None:
    base = tiny_base(family)
    mover = key_mover_of(base)
    positions = torch.arange(10, 22).unsqueeze(0)
    moved = mover.move(0, first_layer_keys(base, positions), torch.full_like(positions, shift))
    assert (moved - first_layer_keys(base, positions + shift)).abs().max() <= 1e-5


@pytest.mark.parametrize("rope", ROPES)
def test_every_rotary_type_with_fixed_angles_can_be_moved(rope: str) -> None:
    base = tiny_base("llama", rope_parameters=ROPES[rope])
    mover = key_mover_of(base)
    positions = torch.arange(12).unsqueeze(0)
    shifts = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
    moved = mover.move(0, first_layer_keys(base, positions), shifts)
    for index, shift in enumerate(shifts[0].tolist()):
        wanted = first_layer_keys(base, positions + shift)[:, :, index]
        assert (moved[:, :, index] - wanted).abs().max() <= 1e-5


def test_the_part_of_a_head_without_positions_stays() -> None:
    base = tiny_base("phi")
    head_dim = attention_modules(base, family_of(base))[0].head_dim
    mover = key_mover_of(base)
    keys = torch.randn(1, 4, 3, head_dim, dtype=torch.float64)
    moved = mover.move(0, keys, torch.tensor([[1, 2, 3]]))
    assert torch.equal(moved[..., head_dim // 2 :], keys[..., head_dim // 2 :])
    assert not torch.allclose(moved[..., : head_dim // 2], keys[..., : head_dim // 2])
