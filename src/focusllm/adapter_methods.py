"""What a model does with its adapter: keep it, fill it, take it out; a part of FocusModel."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from focusllm.condensing.adapter_files import save_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.published import read_published
from focusllm.decoding.engine import FocusEngine


class AdapterMethods:
    """Saves an adapter, fills it with weights and takes it out of its base."""

    base: PreTrainedModel
    adapter: CandidateAdapter
    _engine: FocusEngine

    def save_adapter(self, path: str | Path) -> None:
        """Write the adapter as a folder: configuration, weights as safetensors, model card.

        An adapter that is there is overwritten; of its model card, what FocusLLM wrote there.
        """
        save_adapter(path, self.adapter, self._engine.config, self.base)

    def load_published_weights(self, state_dict: Mapping[str, Tensor]) -> None:
        """Fill the candidate projections from weights with the names of the authors' code.

        Args:
            state_dict: ``model.layers.N.self_attn.beacon_{q,k,v,o}_proj.weight``; others are ignored.

        Raises:
            AdapterError: A weight is missing or has another shape.
            ConfigurationError: The adapter is low-rank; the published weights are full projections.
        """
        read_published(state_dict, self.adapter, self._engine.config)

    @contextmanager
    def disabled(self) -> Iterator[Any]:
        """Give the untouched base for the ``with`` block; other threads wait for its end."""
        # Any, here and below: in transformers' own type hints, a PreTrainedModel has no `generate` to call.
        with self._engine.turns, self.adapter.detached():
            yield self.base

    def detach(self) -> Any:
        """Take the candidate projections out and return the base, which computes what it did before.

        Its parameters stay frozen; ``requires_grad_()`` makes them trainable. ``model.adapter.attach()`` puts the
        projections back.
        """
        self.adapter.detach()
        return self.base
