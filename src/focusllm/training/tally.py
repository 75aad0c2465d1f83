"""What training steps say, gathered from one entry of the loss log to the next."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from focusllm.cache.memory import peak_bytes
from focusllm.training.objective import Objective
from focusllm.training.packing import IGNORED, PackedBatch


class Tally:
    """Counts tokens, and sums losses up by the kind of data they come from.

    Args:
        kinds: The kind of each source of examples; the losses of sources of one kind are put together.
        device: Where the figures are.
    """

    def __init__(self, kinds: Sequence[str], device: torch.device) -> None:
        self._names = list(dict.fromkeys(kinds))
        self._kind_of_source = torch.tensor([self._names.index(kind) for kind in kinds], device=device)
        self._restart()

    def _restart(self) -> None:
        # Right and supervised tokens, tokens; then weighted losses and weights of each kind.
        self._numbers = torch.zeros(3 + 2 * len(self._names), device=self._kind_of_source.device)
        self._started = time.perf_counter()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since the last entry."""
        return not self._numbers.any().item()

    def add(self, batch: PackedBatch, result: Objective) -> None:
        """Count a step's batch and what the objective said of it."""
        is_supervised = batch.labels != IGNORED
        weights = batch.weights[is_supervised]
        kinds = self._kind_of_source[batch.sequence_sources[batch.local_sequences[is_supervised]]]
        right, supervised, tokens = self._numbers[:3]
        right += result.is_right.sum()
        supervised += len(weights)
        tokens += batch.num_tokens
        losses, weight_sums = self._numbers[3:].chunk(2)
        losses.index_add_(0, kinds, result.token_losses.to(losses.dtype) * weights)
        weight_sums.index_add_(0, kinds, weights)

    def entry(self, reduced: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the figures for the log, and begin anew.

        Args:
            reduced: Adds a tensor up over all processes.
        """
        numbers, seconds = reduced(self._numbers), time.perf_counter() - self._started
        right, supervised, tokens = numbers[:3].tolist()
        losses, weight_sums = numbers[3:].chunk(2)
        means = (losses / weight_sums).tolist()
        by_kind = {f"loss_{name}": mean for name, mean in zip(self._names, means, strict=True) if mean == mean}
        self._restart()
        return {
            # With one kind only it would be said twice.
            **(by_kind if len(self._names) > 1 else {}),
            "accuracy": round(right / supervised, 4),
            "supervised_tokens_per_second": round(supervised / seconds, 1),
            "tokens_per_second": round(tokens / seconds, 1),
            "peak_memory_gb": round(peak_bytes() / 1e9, 2),
        }
