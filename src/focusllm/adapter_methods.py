"""What a model does with its adapter: keep it, share it, fill it, take it out; a part of FocusModel."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from torch import Tensor
from transformers import PreTrainedModel

from focusllm.condensing.adapter_files import save_adapter
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.published import read_published
from focusllm.condensing.uploading import upload_adapter
from focusllm.decoding.engine import FocusEngine


class AdapterMethods:
    """Saves, uploads and counts an adapter, fills it with weights and takes it out of its base."""

    base: PreTrainedModel
    adapter: CandidateAdapter
    _engine: FocusEngine

    def save_adapter(self, path: str | Path) -> None:
        """Write the adapter as a folder: configuration, weights as safetensors, model card.

        ``FocusModel.from_pretrained(base, adapter=path)`` loads it. An adapter that is there is
        overwritten; of its model card, what FocusLLM wrote there.
        """
        save_adapter(path, self.adapter, self._engine.config, self.base)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        commit_message: str | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
    ) -> CommitInfo:
        """Upload the adapter to the Hugging Face Hub: what :meth:`save_adapter` writes, and nothing of the base.

        ``FocusModel.from_pretrained(adapter=repo_id)`` loads it where its base was loaded by its name on the Hub.

        Args:
            repo_id: ``owner/name``, or the name of one of your own. The repository is made unless it is there; on its
                model card, what others wrote is kept.
            private: Whether a new repository is private; ``None`` leaves that to its owner's settings.
            commit_message: What the commit is called.
            token: Of whom may write there; ``None``: ``HF_TOKEN``, or that of ``hf auth login``.
            revision: The branch, made unless it is there; ``None`` for the main one.

        Returns:
            What huggingface_hub says of the commit, such as its ``commit_url``.

        Raises:
            AdapterError: The name is none, you may not write there, or the Hub cannot be reached.
        """
        return upload_adapter(
            repo_id, self.adapter, self._engine.config, self.base,
            private=private, commit_message=commit_message, token=token, revision=revision,
        )  # fmt: skip

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Return how many numbers the adapter has, and how many there are with the frozen base's; as PEFT does."""
        with self.disabled() as base:
            frozen = base.num_parameters()
        return self.adapter.num_parameters, self.adapter.num_parameters + frozen

    def print_trainable_parameters(self) -> None:
        """Print how much of the model is trained: the adapter's share of all numbers, worded as by PEFT."""
        trainable, total = self.get_nb_trainable_parameters()
        share = 100 * trainable / total
        print(f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {share:.4f}")

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
        """Give the untouched base for the ``with`` block; other threads wait for its end.

        As in ``with model.disabled() as base: base.generate(...)``.
        """
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
