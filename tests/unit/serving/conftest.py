"""A server of a tiny model."""

from collections.abc import Iterator

import pytest
import torch

from focusllm import FocusModel
from served import Served
from tiny import SMALL, disturb, tiny_base, tiny_tokenizer


@pytest.fixture(scope="module")
def model() -> FocusModel:
    base = tiny_base(dtype=torch.float32, vocab_size=259, max_position_embeddings=256)
    model = FocusModel(base, SMALL, tiny_tokenizer()).eval()
    disturb(model)
    return model


@pytest.fixture
def served(model: FocusModel) -> Iterator[Served]:
    with Served(model.configure(local_length=100)) as served:
        yield served
    model.tokenizer.chat_template = None  # type: ignore[union-attr]
