"""Eight bits are the nearest codes of each token's own scale."""

import pytest
import torch

from focusllm.cache.eight_bits import to_eight_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_value_is_off_by_more_than_half_a_code(dtype: torch.dtype) -> None:
    states = (torch.randn(3, 2, 50, 16) * torch.rand(3, 2, 50, 1) * 20).to(dtype)
    states[0, 0, 7, 3] = 1000.0  # one large value costs its own token only
    rounded = to_eight_bits(states)
    step = states.abs().amax(dim=-1, keepdim=True).float() / 127
    error = (rounded.restored().float() - states.float()).abs()
    # In 16 bits the scale and the product are rounded as well.
    slack = 127 * torch.finfo(dtype).eps
    assert (error <= step * (0.5 + slack)).all()
    assert rounded.codes.dtype == torch.int8
    assert rounded.restored().dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [20.0, 1e-6])
def test_every_code_is_the_nearest_one(dtype: torch.dtype, size: float) -> None:
    states = (torch.randn(3, 2, 50, 64) * size).to(dtype)
    rounded = to_eight_bits(states)
    scales = rounded.scales.double()
    assert ((rounded.codes * scales - states.double()).abs() <= 0.5001 * scales).all()
    assert (rounded.codes.abs().amax(dim=-1) >= 126).all()


def test_nothing_stays_nothing() -> None:
    assert torch.equal(to_eight_bits(torch.zeros(1, 1, 2, 4)).restored(), torch.zeros(1, 1, 2, 4))
