"""Muon for the matrices of a model's layers, AdamW for everything else, as one optimizer.

Looking a fact up is learned in half the steps of AdamW alone. Source: Muon (Jordan et al., 2024) as PyTorch has
it, with updates as large as AdamW's (Liu et al., arXiv 2502.16982), so that one learning rate serves both.
"""

from typing import Any

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """Steps two optimizers as one; schedules and checkpoints see a single one.

    Args:
        model: The model, whose matrices in layers go to Muon.
        learning_rate: Of both.
        weight_decay: Of both.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float, weight_decay: float) -> None:
        matrices, others = [], []
        for name, parameter in model.named_parameters():
            (matrices if parameter.ndim == 2 and ".layers." in name else others).append(parameter)
        settings = {"lr": learning_rate, "weight_decay": weight_decay}
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **settings),
            torch.optim.AdamW(others, betas=(0.9, 0.95), **settings),
        ]
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        # The very dictionaries of the parts, so that a schedule that sets their learning rate reaches the parts.
        return [group for part in self._parts for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Step both parts."""
        for part in self._parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both parts, in the places where an optimizer's is looked for."""
        return {"state": {}, "param_groups": [], "parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()
