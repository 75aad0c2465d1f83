"""Putting training examples into the tensors of one packed forward pass. Source: ours (issue: a set per position).

Shapes: ``rows`` are chunks with their prompt block, over all sequences of the batch; ``sets`` are the
candidate sets of a chunk, one for each local position from the cut on; ``slots`` are the places of a
sequence's chunks in front of its local block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from focusllm.chunking import block
from focusllm.config import FocusConfig

IGNORED = -100


@dataclass(frozen=True)
class TrainingExample:
    """One sequence to learn from.

    Attributes:
        chunks: The chunks of its memory, in order.
        local: The local context, with the tokens to be predicted in it.
        cut: Local positions from here on have candidates of their own and are supervised: position ``cut``
            predicts token ``cut + 1``.
        weights: For each local token, how much predicting it counts; same length as ``local``.
        copies: For each chunk, how many like it the local context is to see in its place (1: just itself).
        slots: For each chunk, the position its candidate has in front of the local context.
        num_slots: How many positions the candidates are spread over; the local block comes after them.
        candidate_refresh: Every so many positions from the cut on see a new set of candidates, as when decoding
            with that setting; 0: all see the first.
    """

    chunks: Sequence[Sequence[int]]
    local: Sequence[int]
    cut: int
    weights: Sequence[float]
    copies: Sequence[float]
    slots: Sequence[int]
    num_slots: int
    candidate_refresh: int = 1

    def set_of(self, position: int) -> int:
        """Return which set of candidates a local position sees."""
        steps = max(position - self.cut, 0)
        return steps // self.candidate_refresh * self.candidate_refresh if self.candidate_refresh else 0


@dataclass
class PackedBatch:
    """The tensors of one packed forward pass; see the module's text for the axes."""

    row_ids: Int[Tensor, "rows row"]
    candidate_ids: Int[Tensor, "rows sets"]
    candidate_positions: Int[Tensor, "rows sets"]
    slot_rows: Int[Tensor, "sequences slots"]
    slot_positions: Int[Tensor, "sequences slots"]
    slot_bias: Float[Tensor, "sequences slots"]
    local_ids: Int[Tensor, "sequences local"]
    local_positions: Int[Tensor, "sequences local"]
    local_sets: Int[Tensor, "sequences local"]
    labels: Int[Tensor, "sequences local"]
    weights: Float[Tensor, "sequences local"]

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch on another device."""
        return PackedBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def num_tokens(self) -> int:
        """How many tokens go through the base, padding included."""
        return self.row_ids.numel() + self.candidate_ids.numel() + self.local_ids.numel()

    @property
    def is_slot_used(self) -> Bool[Tensor, "sequences slots"]:
        """Which slots hold a chunk; the others are padding."""
        return self.slot_rows >= 0


@dataclass(frozen=True)
class _Row:
    tokens: list[int]
    candidates: list[int]
    first_candidate: int


def pack(
    examples: Sequence[TrainingExample], config: FocusConfig, bos_token_id: int | None, pad_id: int
) -> PackedBatch:
    """Put examples into one packed batch; rows and local blocks are padded on the right."""
    rows: list[_Row] = []
    slot_rows: list[list[int]] = []
    for example in examples:
        slot_rows.append(list(range(len(rows), len(rows) + len(example.chunks))))
        rows += _rows_of(example, config, bos_token_id)
    num_sets = max(len(row.candidates) for row in rows)
    local_bos = bos_token_id if config.insert_bos else None
    leads = [len(block(example.local, local_bos)) - len(example.local) for example in examples]
    return PackedBatch(
        row_ids=_padded([row.tokens for row in rows], pad_id),
        candidate_ids=_padded([row.candidates for row in rows], pad_id),
        candidate_positions=torch.tensor([[row.first_candidate + s for s in range(num_sets)] for row in rows]),
        slot_rows=_padded(slot_rows, -1),
        slot_positions=_padded([list(example.slots) for example in examples], 0),
        slot_bias=_padded([list(example.copies) for example in examples], 1.0).log(),
        local_ids=_padded([block(example.local, local_bos) for example in examples], pad_id),
        local_positions=_padded(
            [
                list(range(e.num_slots, e.num_slots + len(e.local) + lead))
                for e, lead in zip(examples, leads, strict=True)
            ],
            0,
        ),
        local_sets=_padded(
            [[e.set_of(j - lead) for j in range(len(e.local) + lead)] for e, lead in zip(examples, leads, strict=True)],
            0,
        ).clamp(max=num_sets - 1),
        labels=_padded([_labels(e, lead) for e, lead in zip(examples, leads, strict=True)], IGNORED),
        weights=_padded([_weights(e, lead) for e, lead in zip(examples, leads, strict=True)], 0.0),
    )


def _rows_of(example: TrainingExample, config: FocusConfig, bos_token_id: int | None) -> list[_Row]:
    """Build the row of each chunk: chunk, prompt block up to the last predicting position, candidates."""
    local_bos = bos_token_id if config.insert_bos else None
    chunk_bos = bos_token_id if config.chunk_bos else None
    start = max(example.cut + 1 - config.dynamic_prompt_length, 0)
    candidates = list(example.local[example.cut : -1])
    prompt = block(example.local[start:-1], local_bos)
    before_cut = len(prompt) - len(candidates)
    rows = []
    for chunk in example.chunks:
        tokens = block(chunk, chunk_bos) + prompt
        rows.append(_Row(tokens[:-1], candidates, len(tokens) - len(prompt) + before_cut))
    return rows


def _labels(example: TrainingExample, lead: int) -> list[int]:
    predicting = [IGNORED] * example.cut + list(example.local[example.cut + 1 :]) + [IGNORED]
    return [IGNORED] * lead + predicting


def _weights(example: TrainingExample, lead: int) -> list[float]:
    predicting = [0.0] * example.cut + list(example.weights[example.cut + 1 :]) + [0.0]
    return [0.0] * lead + predicting


def _padded(values: Sequence[Sequence[int | float]], fill: int | float) -> Tensor:
    length = max(map(len, values))
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in values])
