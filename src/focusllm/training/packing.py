"""Putting training examples into the tensors of one packed forward pass. Source: ours (issue: a set per position).

Everything lies end to end and nothing is padded. ``row_tokens`` are those of all rows, which are chunks with their
prompt block, row by row over all sequences of the batch; ``candidates`` are the candidates of all rows, one for each
set of candidates that some local token sees; ``local_tokens`` are those of the sequences' local blocks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from focusllm.chunking import block, prompt_block
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
        source: Number of the source it was drawn from.
    """

    chunks: Sequence[Sequence[int]]
    local: Sequence[int]
    cut: int
    weights: Sequence[float]
    copies: Sequence[float]
    slots: Sequence[int]
    num_slots: int
    candidate_refresh: int = 1
    source: int = 0

    @property
    def seen(self) -> Sequence[int]:
        """The local tokens something is predicted from: all but the last."""
        return self.local[:-1]

    def set_of(self, position: int) -> int:
        """Return which set of candidates a local position sees."""
        steps = max(position - self.cut, 0)
        return steps // self.candidate_refresh * self.candidate_refresh if self.candidate_refresh else 0

    @property
    def sets(self) -> list[int]:
        """The sets of candidates that some local position sees, in order."""
        return sorted({self.set_of(position) for position in range(len(self.seen))})


@dataclass
class PackedBatch:
    """The tensors of one packed forward pass; see the module's text for the axes.

    Attributes:
        sequence_sources: The number of the source each sequence comes from.
        row_ids: Token ids of the rows.
        row_numbers: The row of each.
        row_positions: The position of each in its row.
        row_sequences: The sequence of each row.
        row_slots: The position each row's first candidates have in front of their sequence's local block.
        row_bias: Added to the scores of each row's candidates: the logarithm of how many like them are meant.
        candidate_ids: Token ids of the candidates.
        candidate_rows: The row of each.
        candidate_sets: The set of each.
        candidate_positions: The position of each in its row.
        candidate_orders: How many of its set come before each in its row: 0 where one candidate stands for a chunk.
        local_ids: Token ids of the local blocks.
        local_sequences: The sequence of each.
        local_positions: The position of each, behind its sequence's candidates.
        local_sets: The set of candidates each sees.
        labels: The token each is to predict, or ``IGNORED``.
        weights: How much that counts.
    """

    sequence_sources: Int[Tensor, " sequences"]
    row_ids: Int[Tensor, " row_tokens"]
    row_numbers: Int[Tensor, " row_tokens"]
    row_positions: Int[Tensor, " row_tokens"]
    row_sequences: Int[Tensor, " rows"]
    row_slots: Int[Tensor, " rows"]
    row_bias: Float[Tensor, " rows"]
    candidate_ids: Int[Tensor, " candidates"]
    candidate_rows: Int[Tensor, " candidates"]
    candidate_sets: Int[Tensor, " candidates"]
    candidate_positions: Int[Tensor, " candidates"]
    candidate_orders: Int[Tensor, " candidates"]
    local_ids: Int[Tensor, " local_tokens"]
    local_sequences: Int[Tensor, " local_tokens"]
    local_positions: Int[Tensor, " local_tokens"]
    local_sets: Int[Tensor, " local_tokens"]
    labels: Int[Tensor, " local_tokens"]
    weights: Float[Tensor, " local_tokens"]

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch on another device."""
        return PackedBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def num_tokens(self) -> int:
        """How many tokens go through the base."""
        return len(self.row_ids) + len(self.candidate_ids) + len(self.local_ids)

    @property
    def rows(self) -> tuple[Int[Tensor, " _"], ...]:
        """The token ids of each row."""
        return self.row_ids.split(self.row_numbers.bincount().tolist())


@dataclass(frozen=True)
class _Row:
    """A chunk and the prompt tokens that some candidate sees, and its candidates."""

    tokens: list[int]
    candidates: list[int]
    positions: list[int]


def pack(examples: Sequence[TrainingExample], config: FocusConfig, bos_token_id: int | None) -> PackedBatch:
    """Put examples into one packed batch."""
    local_bos = bos_token_id if config.insert_bos else None
    locals_ = [block(example.seen, local_bos) for example in examples]
    leads = [len(local) - len(example.seen) for example, local in zip(examples, locals_, strict=True)]
    rows_of = [_rows_of(example, config, bos_token_id) for example in examples]
    rows = list(chain.from_iterable(rows_of))
    led, per_chunk = list(zip(examples, leads, strict=True)), config.candidates_per_chunk
    return PackedBatch(
        sequence_sources=torch.tensor([example.source for example in examples]),
        row_ids=_flat(row.tokens for row in rows),
        row_numbers=_numbers(row.tokens for row in rows),
        row_positions=_flat(range(len(row.tokens)) for row in rows),
        row_sequences=_numbers(rows_of),
        row_slots=_flat(example.slots for example in examples) * per_chunk,
        row_bias=_flat([float(copies) for copies in example.copies] for example in examples).log(),
        candidate_ids=_flat(row.candidates for row in rows),
        candidate_rows=_numbers(row.candidates for row in rows),
        candidate_sets=_flat(e.sets for e in examples for _ in e.chunks).repeat_interleave(per_chunk),
        candidate_positions=_flat(row.positions for row in rows),
        candidate_orders=_flat(range(per_chunk) for row in rows for _ in row.candidates[::per_chunk]),
        local_ids=_flat(locals_),
        local_sequences=_numbers(locals_),
        local_positions=_flat(_behind(e.num_slots * per_chunk, len(e.seen) + lead) for e, lead in led),
        local_sets=_flat([e.set_of(j - lead) for j in range(len(e.seen) + lead)] for e, lead in led),
        labels=_flat([*[IGNORED] * (lead + e.cut), *e.local[e.cut + 1 :]] for e, lead in led),
        weights=_flat([*[0.0] * (lead + e.cut), *e.weights[e.cut + 1 :]] for e, lead in led),
    )


def _rows_of(example: TrainingExample, config: FocusConfig, bos_token_id: int | None) -> list[_Row]:
    """Build the row of each chunk: chunk and prompt block up to the last candidate, candidates."""
    local_bos = bos_token_id if config.insert_bos else None
    chunk_bos = bos_token_id if config.chunk_bos else None
    sets, repeats = example.sets, range(config.candidates_per_chunk)
    asked, last = example.local[: example.cut + 1], sets[-1]
    prompt = [*prompt_block(asked, config, local_bos), *example.local[len(asked) : len(asked) + last]]
    candidates = [prompt[len(prompt) - 1 - last + number] for number in sets for _ in repeats]
    behind = [number - last + repeat for number in sets for repeat in repeats]
    rows = []
    for chunk in example.chunks:
        tokens = [*block(chunk, chunk_bos), *prompt[:-1]]
        rows.append(_Row(tokens, candidates, [len(tokens) + offset for offset in behind]))
    return rows


def _behind(first: int, count: int) -> range:
    return range(first, first + count)


def _flat(values: Iterable[Iterable[int | float]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(values)))


def _numbers(values: Iterable[Sequence[object]]) -> Int[Tensor, " items"]:
    """Say of each item of each sequence in which of the sequences it is."""
    return _flat([number] * len(items) for number, items in enumerate(values))
