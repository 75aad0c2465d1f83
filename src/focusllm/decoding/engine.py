"""Prefill and decode steps. Source: paper, sections 2.1 and 2.2; cached local contexts and refresh intervals: ours."""

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.layers import cache_from, growing_cache, overwrite_prefix
from focusllm.chunking import SplitSequence, block, prompt_block
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.condense import Condenser
from focusllm.condensing.families import window_of
from focusllm.config import FocusConfig
from focusllm.decoding.forward import focus_forward
from focusllm.decoding.limits import check_growth, check_room
from focusllm.decoding.state import FocusState, LocalBatch

# Called with the chunk tokens read so far, and those to be read in all.
Progress = Callable[[int, int], None]
# Tokens that go through the base at once, when the user does not say: enough to keep the device busy.
_TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}

# Chunks that were run together, and the candidates they gave.
Made = list[tuple[ChunkBatch, CandidateKV]]


class FocusEngine:
    """Decodes sequences that were divided into chunks and local context.

    Args:
        base: The base model the adapter is attached to.
        adapter: Its candidate projections.
        config: The method's settings.
        bos_token_id: The tokenizer's BOS, or ``None``.
        max_parallel_chunks: Chunks that go through the base at once; ``None`` chooses by their length.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        adapter: CandidateAdapter,
        config: FocusConfig,
        bos_token_id: int | None,
        max_parallel_chunks: int | None = None,
    ) -> None:
        self.base = base
        self.config = config
        self.window = window_of(base)
        self.bos_token_id = bos_token_id
        self.max_parallel_chunks = max_parallel_chunks
        self._condenser = Condenser(base, adapter)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return next(self.base.parameters()).device

    @torch.no_grad()
    def prefill(self, sequences: Sequence[SplitSequence], progress: Progress | None = None) -> FocusState:
        """Condense all chunks and run the local contexts.

        Args:
            sequences: The batch, divided.
            progress: Called with the chunk tokens read so far and those to be read in all.

        Raises:
            WindowError: A chunk with its prompt, or the candidates with a local context, exceed the window.
        """
        for sequence in sequences:
            check_room(sequence, self.config, self.window)
        chunks = ChunkCache(self._plan_chunks(sequences))
        made: Made = []
        read, total = 0, sum(len(chunk) for sequence in sequences for chunk in sequence.chunks)
        for batch in chunks.batches:
            rows = torch.tensor(self._chunk_rows(sequences, batch), device=self.device)
            made.append((batch, self._condenser.condense(batch, rows)))
            if progress is not None:
                read += sum(len(sequences[sequence].chunks[chunk]) for sequence, chunk in batch.places)
                progress(read, total)
        state = FocusState(torch.empty(len(sequences), 0), chunks, self._plan_locals(sequences))
        self._run_locals(state, made, new_tokens=None)
        return state

    @torch.no_grad()
    def step(self, state: FocusState, token_ids: Tensor) -> FocusState:
        """Append one token to every sequence and return the state after it; the old state must not be used again.

        Raises:
            StateError: The state was used before, or there is not one token for each sequence.
            WindowError: A chunk or a local context has outgrown the window.
        """
        state.check_tokens(token_ids)
        state.spend()
        token_ids = token_ids.to(self.device)
        after = FocusState(state.logits, state.chunks, state.locals, [*state.pending, token_ids])
        for local in after.locals:
            self._check_growth(local, after)
        made: Made = []
        if len(after.pending) == self.config.candidate_refresh:
            for batch in after.chunks.batches:
                new = torch.stack(
                    [tokens[[sequence for sequence, _ in batch.places]] for tokens in after.pending], dim=1
                )
                rows = torch.cat((batch.candidate_ids.unsqueeze(1), new), dim=1)
                made.append((batch, self._condenser.condense(batch, rows)))
            after.pending = []
        self._run_locals(after, made, new_tokens=token_ids)
        return after

    def _plan_chunks(self, sequences: Sequence[SplitSequence]) -> list[ChunkBatch]:
        """Put chunks whose rows have equal lengths together, at most so many at a time."""
        places = [(s, c) for s, sequence in enumerate(sequences) for c in range(sequence.num_chunks)]
        lengths = {place: len(self._chunk_row(sequences[place[0]], place[1])) for place in places}
        batches = []
        for length, group in groupby(sorted(places, key=lengths.__getitem__), key=lengths.__getitem__):
            members = list(group)
            at_once = self.max_parallel_chunks or max(_TOKENS_AT_ONCE.get(self.device.type, 65536) // length, 1)
            for start in range(0, len(members), at_once):
                some = members[start : start + at_once]
                batches.append(ChunkBatch(some, torch.empty(len(some), dtype=torch.long)))
        return batches

    def _chunk_rows(self, sequences: Sequence[SplitSequence], batch: ChunkBatch) -> list[list[int]]:
        return [self._chunk_row(sequences[sequence], chunk) for sequence, chunk in batch.places]

    def _chunk_row(self, sequence: SplitSequence, chunk: int) -> list[int]:
        chunk_bos = self.bos_token_id if self.config.chunk_bos else None
        local_bos = self.bos_token_id if self.config.insert_bos else None
        prompt = prompt_block(sequence.local, self.config.dynamic_prompt_length, local_bos)
        return block(sequence.chunks[chunk], chunk_bos) + prompt

    def _plan_locals(self, sequences: Sequence[SplitSequence]) -> list[LocalBatch]:
        """Put local contexts of equal shape together."""
        local_bos = self.bos_token_id if self.config.insert_bos else None
        by_shape: dict[tuple[int, int], list[int]] = {}
        # A sequence without chunks is the base's own business: nothing is added to it.
        blocks = [block(s.local, local_bos) if s.chunks else list(s.local) for s in sequences]
        for index, sequence in enumerate(sequences):
            by_shape.setdefault((sequence.num_chunks, len(blocks[index])), []).append(index)
        return [
            LocalBatch(indices, num_candidates, torch.tensor([blocks[i] for i in indices], device=self.device))
            for (num_candidates, _), indices in by_shape.items()
        ]

    def _run_locals(self, state: FocusState, made: Made, new_tokens: Tensor | None) -> None:
        logits: dict[int, Tensor] = {}
        for local in state.locals:
            for batch, candidates in made:
                local.put(batch, candidates)
            new = None if new_tokens is None else new_tokens[local.sequences].unsqueeze(1)
            rows = self._run_local(local, new, is_refreshed=bool(made))
            logits.update(zip(local.sequences, rows, strict=True))
        state.logits = torch.stack([logits[index] for index in range(len(logits))])

    def _run_local(self, local: LocalBatch, new: Tensor | None, is_refreshed: bool) -> Tensor:
        if new is not None:
            local.token_ids = torch.cat((local.token_ids, new), dim=1)
        # Without candidates nothing behind a token ever changes, so there is nothing to run again.
        keeps_cache = local.candidates is None or self.config.local_refresh == "cached"
        if new is not None and keeps_cache and local.cache is not None:
            if local.candidates is not None and is_refreshed:
                overwrite_prefix(local.cache, local.candidates.layers)
            return focus_forward(self.base, new, local.cache)
        cache = growing_cache() if local.candidates is None else cache_from(local.candidates.layers)
        local.cache = cache if keeps_cache else None
        return focus_forward(self.base, local.token_ids, cache)

    def _check_growth(self, local: LocalBatch, state: FocusState) -> None:
        longest_row = 0
        if local.candidates is not None and self.config.candidate_refresh:
            rows = (batch.cache.get_seq_length() for batch in state.chunks.batches)
            longest_row = max(rows, default=0) + len(state.pending) + 1
        check_growth(local.num_candidates + local.token_ids.shape[1] + 1, longest_row, self.window)
