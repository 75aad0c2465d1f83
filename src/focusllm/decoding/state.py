"""What is kept between decode steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.following import follow
from focusllm.chunking import check_vocabulary
from focusllm.decoding.plans import Place
from focusllm.decoding.recording import on_candidates
from focusllm.errors import StateError


@dataclass(frozen=True)
class TokenScores:
    """What a model says of tokens, each from all before it.

    Attributes:
        log_probabilities: Their natural logarithms.
        are_likeliest: Whether no other token was likelier: greedy decoding would have chosen them.
    """

    log_probabilities: Float[Tensor, " tokens"]
    are_likeliest: Bool[Tensor, " tokens"]

    @classmethod
    def of(cls, logits: Float[Tensor, "tokens vocab"], token_ids: Sequence[int]) -> "TokenScores":
        """Score tokens by the logits they are chosen from."""
        chosen = torch.tensor(token_ids, dtype=torch.int64, device=logits.device)
        found = logits.float().log_softmax(dim=-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        return cls(found, logits.argmax(dim=-1) == chosen)


@dataclass
class LocalBatch:
    """Local contexts that go through the base together because they have equal lengths and chunk counts.

    Attributes:
        sequences: Which sequences of the batch they are.
        num_chunks: How many chunks each of them has.
        per_chunk: How many candidates stand in front of them for each chunk.
        token_ids: The local blocks, with all tokens decoded so far.
        candidates: The candidates in front of them; ``None`` where there are no chunks.
        cache: Keys and values of candidates and local tokens, kept while the local context is cached.
        shares: How much of each layer's attention the last token paid to each chunk, where that is recorded.
    """

    sequences: list[int]
    num_chunks: int
    per_chunk: int
    token_ids: Int[Tensor, "rows local"]
    candidates: CandidateKV | None = None
    cache: Cache | None = None
    shares: Float[Tensor, "rows layers chunks"] | None = None

    @property
    def num_candidates(self) -> int:
        """How many candidates stand in front of each local context."""
        return self.num_chunks * self.per_chunk

    def put(self, places: Sequence[Place], made: CandidateKV) -> None:
        """Put new candidates of some chunks in front of those local contexts here that they belong to."""
        row_of = {sequence: row for row, sequence in enumerate(self.sequences)}
        sources = [index for index, (sequence, _) in enumerate(places) if sequence in row_of]
        if not sources:
            return
        if self.candidates is None:
            self.candidates = made.room_for(len(self.sequences), self.num_candidates)
        rows = [row_of[places[index][0]] for index in sources]
        self.candidates.put(made, sources, rows, [places[index][1] for index in sources])

    def follow(self, parents: Sequence[int]) -> None:
        """Make every row what its parent's row is; all parents are here."""
        row_of = {sequence: row for row, sequence in enumerate(self.sequences)}
        rows: Any = torch.tensor([row_of[parents[one]] for one in self.sequences], device=self.token_ids.device)
        self.token_ids = self.token_ids[rows]
        if self.candidates is not None:
            self.candidates = self.candidates.rows(rows)
        if self.cache is not None:
            self.cache.reorder_cache(rows)
        if self.shares is not None:
            self.shares = self.shares[rows]


@dataclass
class FocusState:
    """A batch of sequences after prefill or a decode step.

    Attributes:
        logits: Scores of the next token of each sequence.
        chunks: Keys and values of all chunks.
        locals: The local contexts.
        pending: Tokens decoded since the candidates were made, one tensor (batch,) for each step.
        ahead: Copies of the chunks in focus, of those that stay in memory, which have read the pending tokens.
        records: Whether attention to candidates is recorded.
    """

    logits: Float[Tensor, "batch vocab"]
    chunks: ChunkCache
    locals: list[LocalBatch]
    pending: list[Tensor] = field(default_factory=list)
    ahead: list[ChunkBatch] = field(default_factory=list)
    records: bool = False
    _is_spent: bool = False

    def __repr__(self) -> str:
        return f"FocusState(batch_size={self.batch_size}, num_chunks={self.num_chunks})"

    @property
    def batch_size(self) -> int:
        """How many sequences there are."""
        return self.logits.shape[0]

    @property
    def num_chunks(self) -> list[int]:
        """How many chunks each sequence was divided into."""
        counts = [0] * self.batch_size
        for batch in self.locals:
            for sequence in batch.sequences:
                counts[sequence] = batch.num_chunks
        return counts

    @property
    def shares(self) -> list[Float[Tensor, "layers _"] | None]:
        """For each sequence, the attention its last token paid to each chunk; ``None`` where not recorded."""
        found: list[Tensor | None] = [None] * self.batch_size
        for batch in self.locals:
            if batch.shares is not None:
                for sequence, shares in zip(batch.sequences, batch.shares, strict=True):
                    found[sequence] = shares
        return found

    def focus(self, share: float) -> set[tuple[int, int]]:
        """Return the chunks that hold most of the last tokens' attention to candidates, as sequence and number.

        Args:
            share: For each sequence, the fewest chunks that reach this share of it are taken.
        """
        found = set()
        for batch in self.locals:
            if batch.shares is None:
                continue
            for sequence, attention in zip(batch.sequences, on_candidates(batch.shares), strict=True):
                ordered = attention.sort(descending=True)
                reached = ordered.values.cumsum(0) / ordered.values.sum()
                count = len(reached) if share == 1 else int((reached < share).sum()) + 1
                found |= {(sequence, number) for number in ordered.indices[:count].tolist()}
        return found

    def follow(self, parents: Sequence[int]) -> None:
        """Go on, in the place of each sequence, with another one that began alike: with its parent.

        Args:
            parents: For each sequence, which one it goes on from.
        """
        follow(self.chunks, parents)
        # What runs ahead of the chunks is copied from them again.
        self.ahead = []
        for local in self.locals:
            local.follow(parents)
        self.pending = [tokens[list(parents)] for tokens in self.pending]

    def spend(self) -> None:
        """Mark the state as advanced: its caches now belong to the next one.

        Raises:
            StateError: It was advanced before.
        """
        if self._is_spent:
            raise StateError("This state was already advanced by a step; go on with the state that step returned.")
        self._is_spent = True

    def check_tokens(self, token_ids: Any, vocabulary: int) -> None:
        """Check the tokens of a step; the base knows so many in all.

        Raises:
            StateError: They are not one whole number for each sequence.
            InputError: One is beyond the vocabulary.
        """
        is_tensor = isinstance(token_ids, Tensor)
        is_row = is_tensor and token_ids.shape == (self.batch_size,)
        if not is_row or token_ids.dtype not in (torch.int64, torch.int32):
            found = f"shape {tuple(token_ids.shape)} of {token_ids.dtype}" if is_tensor else type(token_ids).__name__
            raise StateError(
                f"A step takes a tensor with one token id for each sequence, shape ({self.batch_size},); got {found}."
            )
        check_vocabulary(token_ids.tolist(), vocabulary)
