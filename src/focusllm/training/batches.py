"""The data set a Trainer reads: packed batch number i, drawn from a seed of its own."""

import random

from torch.utils.data import Dataset

from focusllm.config import FocusConfig
from focusllm.training.examples import ExampleDrawer
from focusllm.training.packing import PackedBatch, pack


class PackedBatches(Dataset[PackedBatch]):
    """A run's batches; a resumed run draws what it would have drawn.

    Args:
        drawer: Draws the examples of a batch.
        config: The method's settings.
        bos_token_id: The tokenizer's BOS, or ``None``.
        num_batches: Batches in the run.
        seed: Seed of the run.
    """

    def __init__(
        self,
        drawer: ExampleDrawer,
        config: FocusConfig,
        bos_token_id: int | None,
        num_batches: int,
        seed: int,
    ) -> None:
        self._drawer = drawer
        self._config = config
        self._bos_token_id = bos_token_id
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> PackedBatch:
        examples = self._drawer.draw(random.Random(f"{self._seed}/{index}"), done=index / self._num_batches)
        return pack(examples, self._config, self._bos_token_id)
