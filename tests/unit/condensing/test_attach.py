"""Bases that candidate projections cannot be put into."""

import pytest
import torch

from focusllm.condensing.attach import CandidateAdapter
from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError
from tiny import tiny_base


def test_a_base_spread_over_devices_is_refused_as_it_was() -> None:
    base = tiny_base()
    base.model.layers[1].to("meta")
    layers = [type(layer) for layer in base.modules()]
    with pytest.raises(ConfigurationError, match=r"several devices \(cpu, meta\).*torchrun"):
        CandidateAdapter(base, FocusConfig())
    assert [type(layer) for layer in base.modules()] == layers
    assert all(parameter.requires_grad for parameter in base.parameters())


def test_a_base_without_values_is_wrapped() -> None:
    """What sizes are known of before anything is loaded."""
    adapter = CandidateAdapter(tiny_base().to(torch.device("meta")), FocusConfig())
    assert {parameter.device.type for parameter in adapter.parameters().values()} == {"meta"}
