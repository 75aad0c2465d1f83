"""The module that training optimizes: packed batches in, loss out. Source: paper, section 2.3 and equation (6)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.attention import attention_by
from focusllm.condensing.families import backbone_of, key_mover_of, layer_windows
from focusllm.training.flex_layout import FlexLayout
from focusllm.training.packed_attention import PACKED_ATTENTION, BlockLayout, RowLayout
from focusllm.training.packing import IGNORED, PackedBatch


@dataclass(frozen=True)
class Objective:
    """What one packed pass says.

    Attributes:
        loss: Weighted mean of the cross-entropy over supervised positions, in nats.
        token_losses: Cross-entropy of each supervised position.
        is_right: Whether each supervised position's first choice is the right token.
    """

    loss: Float[Tensor, ""]
    token_losses: Float[Tensor, " supervised"]
    is_right: Tensor


class FocusObjective(nn.Module):
    """The packed forward pass of a base and its candidate projections.

    The tokens of chunks and prompts are only ever read, by frozen weights: they run once without gradients.
    The candidates and the local blocks then run together with gradients. Both passes are flat sequences, so that no
    token that goes through the base is padding. That equals decoding the same tokens one by one
    (``local_refresh="cached"``), and works with gradient checkpointing.

    Args:
        base: The base model the adapter is attached to.
        adapter: The candidate projections to be trained.
        row_dtype: Lower precision for the tokens of chunks and prompts, which get no gradients; ``None`` is the
            base's own.
    """

    def __init__(self, base: PreTrainedModel, adapter: CandidateAdapter, row_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.base = _without_dropout(base)
        # Where accelerate looks for the layers that FSDP divides one by one.
        self._no_split_modules = base._no_split_modules
        self.train()
        self._adapter = adapter
        self._mover = key_mover_of(base)
        self._windows = layer_windows(base)
        self._row_dtype = row_dtype

    def forward(self, batch: PackedBatch) -> Objective:
        """Compute the loss of a packed batch."""
        # One kernel for all rows and sequences is worth most where every kernel has to be launched.
        layout_kind = FlexLayout if batch.local_ids.is_cuda else BlockLayout
        layout = layout_kind(batch, self._encode_rows(batch), self._mover, self._windows)
        num_candidates = len(batch.candidate_ids)
        supervised = (batch.labels != IGNORED).nonzero().squeeze(1)
        with self._packed(torch.arange(num_candidates, device=batch.local_ids.device)):
            logits = self.base(
                input_ids=torch.cat((batch.candidate_ids, batch.local_ids)).unsqueeze(0),
                position_ids=torch.cat((batch.candidate_positions, batch.local_positions)).unsqueeze(0),
                use_cache=False,
                logits_to_keep=supervised + num_candidates,
                focus_layout=layout,
            ).logits[0]
        return _objective(logits, batch.labels[supervised], batch.weights[supervised])

    @torch.no_grad()
    def _encode_rows(self, batch: PackedBatch) -> dict[int, tuple[Tensor, Tensor]]:
        """Run the tokens of rows and return, for each layer, their keys and values."""
        layout = RowLayout(batch, self._windows)
        precision = torch.autocast(batch.row_ids.device.type, self._row_dtype or torch.bfloat16, bool(self._row_dtype))
        with precision, self._packed(None):
            backbone_of(self.base)(
                input_ids=batch.row_ids.unsqueeze(0),
                position_ids=batch.row_positions.unsqueeze(0),
                use_cache=False,
                focus_layout=layout,
            )
        return layout.kept

    @contextmanager
    def _packed(self, candidate_index: Tensor | None) -> Iterator[None]:
        """Let the base use the packed attention, and the candidates their projections."""
        with attention_by(self.base, PACKED_ATTENTION), self._adapter.gate.open_at(candidate_index):
            yield

    def train(self, mode: bool = True) -> "FocusObjective":
        """Set training mode; the frozen base stays as it is when it decodes, but for layers that run twice."""
        super().train(mode)
        for module in self.base.modules():
            # Their own mode says whether they check-point; what is inside them has modes of its own.
            module.training = mode and isinstance(module, GradientCheckpointingLayer)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the trained parameters; checkpoints leave the frozen base out, and it stays as it is."""
        frozen = {name: value for name, value in self.state_dict().items() if "candidate_" not in name}
        return super().load_state_dict({**frozen, **state_dict}, strict, assign)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Trade time for memory, as for a transformers model.

        Layers that run again in the backward pass find their candidates where they were in the forward pass.
        """
        # The name transformers had for it before.
        enable = getattr(self.base, "activation_checkpointing_enable", self.base.gradient_checkpointing_enable)
        given = activation_checkpointing_kwargs or {}
        enable({**given, "use_reentrant": False, "context_fn": self._checkpoint_contexts}, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Do the same by the name, and the name of its argument, that transformers had for it before."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def _checkpoint_contexts(self) -> tuple[Any, Any]:
        return nullcontext(), self._packed(self._adapter.gate.index)


def _objective(
    logits: Float[Tensor, "supervised vocab"], targets: Tensor, weights: Float[Tensor, " supervised"]
) -> Objective:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    token_losses = nn.functional.cross_entropy(precise, targets, reduction="none")
    loss = (token_losses * weights).sum() / weights.sum()
    return Objective(loss, token_losses.detach(), logits.argmax(-1) == targets)


def _without_dropout(base: PreTrainedModel) -> PreTrainedModel:
    """Turn dropout off for good: the frozen base is to be, in training, what it is when it decodes."""
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Others keep the rate as a number of their own and hand it to a function.
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    return base
