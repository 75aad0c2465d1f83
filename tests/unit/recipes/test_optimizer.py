"""The recipe's optimizer: two in one, which schedules and checkpoints see as one."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch.optim.lr_scheduler import LambdaLR

from tiny import tiny_base

PATH = Path(__file__).parents[3] / "recipes" / "tiny" / "optimizer.py"


def recipe_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_recipe_optimizer", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stepped(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_resumed_it_goes_on_as_if_it_had_not_been_cut() -> None:
    make = recipe_module().MuonWithAdamW
    model = tiny_base("llama", torch.float32).requires_grad_()
    optimizer = make(model, 0.01, 0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    after = stepped(model, optimizer, seed=1)
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    other = copy.deepcopy(model)
    resumed = make(other, 0.01, 0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    wanted, found = stepped(model, optimizer, seed=2), stepped(other, resumed, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(wanted, found, strict=True))


def test_a_schedule_reaches_both_parts_also_after_resuming() -> None:
    model = tiny_base("llama", torch.float32).requires_grad_()
    optimizer = recipe_module().MuonWithAdamW(model, 0.01, 0.0)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    LambdaLR(optimizer, lambda _: 0.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    after = stepped(model, optimizer, seed=1)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
