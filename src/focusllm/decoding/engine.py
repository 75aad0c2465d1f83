"""Prefill and decode steps. Source: paper, sections 2.1 and 2.2; cached local contexts and refresh intervals: ours."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.gathering import gathered
from focusllm.cache.layers import SLACK, cache_from, empty_cache, growing_cache, overwrite_prefix, rows_of
from focusllm.chunking import SplitSequence, block, cut_for, pieces, prompt_block, split_sequence
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.attention import attention_of
from focusllm.condensing.condense import Condenser
from focusllm.condensing.families import vocabulary_of, window_of
from focusllm.config import FocusConfig
from focusllm.decoding.focusing import refresh_focus
from focusllm.decoding.forward import focus_forward
from focusllm.decoding.limits import check_growth, check_room, rows_grow
from focusllm.decoding.modes import without_gradients
from focusllm.decoding.plans import ChunkPlanner, Place
from focusllm.decoding.ranks import Made, Ranks
from focusllm.decoding.recording import AttentionRecord, can_record, recorded
from focusllm.decoding.state import FocusState, LocalBatch, TokenScores
from focusllm.decoding.turns import Turns, in_turn
from focusllm.errors import ConfigurationError

# Called with the chunk tokens read so far, and those to be read in all.
Progress = Callable[[int, int], None]


class FocusEngine:
    """Decodes sequences that were divided into chunks and local context.

    Args:
        base: The base model the adapter is attached to.
        adapter: Its candidate projections.
        config: The method's settings.
        bos_token_id: The tokenizer's BOS, or ``None``.
        max_parallel_chunks: See :class:`~focusllm.decoding.plans.ChunkPlanner`.
        process_group: Processes that share the chunks; ``None``: this one reads all.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        adapter: CandidateAdapter,
        config: FocusConfig,
        bos_token_id: int | None,
        max_parallel_chunks: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.base, self.config, self.bos_token_id = base, config, bos_token_id
        self.window = window_of(base)
        self.planner, self.ranks = ChunkPlanner(base, max_parallel_chunks), Ranks(base, process_group)
        self.turns = Turns()
        self._condenser = Condenser(base, adapter, config.candidates_per_chunk)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return next(self.base.parameters()).device

    @property
    def vocabulary(self) -> int:
        """How many tokens the base knows; users may give it more at any time (`resize_token_embeddings`)."""
        return vocabulary_of(self.base)

    @property
    def local_bos(self) -> int | None:
        """The token before prompt blocks and local blocks, or ``None``."""
        return self.bos_token_id if self.config.insert_bos else None

    def split(self, rows: Sequence[Sequence[int]], new_tokens: int = 0) -> list[SplitSequence]:
        """Divide sequences that would not fit the window with so many new tokens; the others stay whole."""
        whole, local = self.window - new_tokens, self.config.local_length
        cuts = [cut_for(len(row), self.config, self.window) for row in rows]
        return [split_sequence(row, whole, cut[0], local, cut[1]) for row, cut in zip(rows, cuts, strict=True)]

    def prefill(self, sequences: Sequence[SplitSequence], progress: Progress | None = None) -> FocusState:
        """Read all chunks, condense them and run the local contexts.

        Args:
            sequences: The batch, divided.
            progress: Called with the chunk tokens read so far and those to be read in all.

        Raises:
            WindowError: A chunk with its prompt, or the candidates with a local context, exceed the window.
        """
        for sequence in sequences:
            check_room(sequence, self.config, self.window)
        prompts = [self._prompt(sequence) for sequence in sequences]
        chunks = self.index([sequence.chunks for sequence in sequences], list(map(len, prompts)), progress)
        return self.ask(sequences, chunks)

    @in_turn
    @without_gradients
    def index(
        self,
        documents: Sequence[Sequence[Sequence[int]]],
        prompt_lengths: Sequence[int],
        progress: Progress | None = None,
        *,
        known: Collection[Place] = (),
        batch_bytes: int | None = None,
        finish: Callable[[ChunkBatch], None] = lambda _: None,
    ) -> ChunkCache:
        """Run chunks through the base and keep their keys and values, whatever will be asked.

        Args:
            documents: The chunks of each document.
            prompt_lengths: For each, how long the prompt block of a question is likely to be: so much room is
                left behind every chunk. Only documents with equal ones share a batch.
            progress: Called with the chunk tokens read so far and those to be read in all.
            known: Document and number of chunks that are not to be read.
            batch_bytes: Keys and values that a batch may have; ``None``: as many as are of use.
            finish: Called with every batch of chunks once it is read.
        """
        chunks = ChunkCache()
        places = [(d, c) for d, document in enumerate(documents) for c in range(len(document)) if (d, c) not in known]
        own = [(document, chunk) for document, chunk in places if self.ranks.owns(chunk)]
        read, total = 0, sum(len(documents[document][chunk]) for document, chunk in places)
        for plan in self.planner.plan(documents, prompt_lengths, own, batch_bytes):
            cache = empty_cache(self.base.config.num_hidden_layers, plan.prompt_length + SLACK)
            blocks = torch.tensor([self._chunk_block(documents[d][c]) for d, c in plan.places], device=self.device)
            for some in pieces(len(blocks), plan.rows_at_once):
                self._condenser.extend(rows_of(cache, some, len(blocks)), blocks[some])
                if progress is not None:
                    # The other processes are about as far.
                    read = min(read + plan.chunk_length * (some.stop - some.start) * self.ranks.count, total)
                    progress(read, total)
            batch = ChunkBatch(plan.places, cache, num_own=blocks.shape[1])
            if self.config.chunk_kv == "int8":
                batch.keep_in_eight_bits()
            chunks.batches.append(batch)
            finish(batch)
        return chunks

    @in_turn
    @without_gradients
    def ask(self, sequences: Sequence[SplitSequence], chunks: ChunkCache, records: bool = False) -> FocusState:
        """Condense chunks that were read before for what the local contexts ask, and run these.

        Args:
            sequences: The batch, divided. That everything fits the window has been checked.
            chunks: Their chunks, as :meth:`index` gives them; a state made from them before is of no use any more.
            records: Whether attention to candidates is recorded, here and in the steps that follow.
        """
        for batch in chunks.batches:
            batch.forget_question()
        prompts = [self._prompt(sequence) for sequence in sequences]
        chunks = gathered(chunks, list(map(len, prompts)), self.device, self.planner.max_parallel_chunks)
        made: Made = []
        for batch in chunks.visit(self.device):
            rows = torch.tensor([prompts[sequence] for sequence, _ in batch.rows], device=self.device)
            made.append((batch.places, self._condenser.condense(batch, rows, self.planner.rows_at_once(rows.shape[1]))))
        records = records or self.config.focus_share is not None
        state = FocusState(torch.empty(len(sequences), 0), chunks, self._plan_locals(sequences), records=records)
        self._run_locals(state, self.ranks.gathered(made), new_tokens=None)
        return state

    @in_turn
    @without_gradients
    def step(self, state: FocusState, token_ids: Tensor) -> FocusState:
        """Append one token to every sequence and return the state after it; the old state must not be used again.

        Tokens are not looked at, for which a GPU would have to be waited for: what users hand in is checked before, and
        what is chosen from scores is one that has scores.

        Raises:
            StateError: The state was used before.
            WindowError: A chunk or a local context has outgrown the window.
        """
        state.spend()
        token_ids = token_ids.to(self.device)
        pending = [*state.pending, token_ids]
        after = FocusState(state.logits, state.chunks, state.locals, pending, state.ahead, state.records)
        for local in after.locals:
            self._check_growth(local, after)
        made = self._refresh(after)
        self._run_locals(after, made, new_tokens=token_ids)
        return after

    @in_turn
    @without_gradients
    def score(self, state: FocusState, rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Score runs of tokens that each go on from a state of one sequence, which must not be used again.

        Candidates stay as they are: it is what steps with ``candidate_refresh=0`` give, in one pass.

        Raises:
            ConfigurationError: Local contexts are not kept (``local_refresh="recompute"``), and a run has more than
                one token.
            StateError: The state was used before.
            WindowError: Candidates, local context and tokens exceed the window.
        """
        state.spend()
        [local], longest = state.locals, max(map(len, rows))
        logits = state.logits.unsqueeze(1).expand(len(rows), 1, -1)
        if longest > 1:
            if local.cache is None:
                raise ConfigurationError("Scoring needs the local context kept: set `local_refresh` to 'cached'.")
            check_growth(local.num_candidates + local.token_ids.shape[1] + longest, 0, self.window)
            if len(rows) > 1:
                same: Any = torch.zeros(len(rows), dtype=torch.int64, device=self.device)
                local.cache.reorder_cache(same)
            # What stands behind a shorter run is seen by nothing that counts.
            padded = pad_sequence([torch.tensor(row[:-1], dtype=torch.int64) for row in rows], batch_first=True)
            given = (padded.to(self.device), local.cache, local.num_candidates, longest - 1)
            logits = torch.cat((logits, focus_forward(self.base, *given)), dim=1)
        return [TokenScores.of(logits[number, : len(row)], row) for number, row in enumerate(rows)]

    def _refresh(self, state: FocusState) -> Made:
        """Make candidates again: all, those in focus, or none."""
        if len(state.pending) == self.config.candidate_refresh:
            made = [self._condense_new(batch, state.pending) for batch in state.chunks.visit(self.device)]
            state.pending, state.ahead = [], []
        elif self.config.focus_share is not None:
            made = refresh_focus(state, self.config.focus_share, self.device, self._condense_new)
        else:
            return []
        return self.ranks.gathered(made)

    def _condense_new(self, batch: ChunkBatch, tokens: Sequence[Tensor]) -> tuple[list[Place], CandidateKV]:
        """Make candidates again after new tokens, one of each sequence in every tensor."""
        owners = [sequence for sequence, _ in batch.rows]
        rows = torch.stack([one[owners] for one in tokens], dim=1)
        at_once = self.planner.rows_at_once(len(tokens) + self.config.candidates_per_chunk)
        return batch.places, self._condenser.condense(batch, rows, at_once)

    def _chunk_block(self, chunk: Sequence[int]) -> list[int]:
        return block(chunk, self.bos_token_id if self.config.chunk_bos else None)

    def _prompt(self, sequence: SplitSequence) -> list[int]:
        return prompt_block(sequence.local, self.config, self.local_bos)

    def _plan_locals(self, sequences: Sequence[SplitSequence]) -> list[LocalBatch]:
        """Put local contexts of equal shape together."""
        by_shape, per_chunk = dict[tuple[int, int], list[int]](), self.config.candidates_per_chunk
        # A sequence without chunks is the base's own business: nothing is added to it.
        blocks = [block(s.local, self.local_bos) if s.chunks else list(s.local) for s in sequences]
        for index, sequence in enumerate(sequences):
            by_shape.setdefault((sequence.num_chunks, len(blocks[index])), []).append(index)
        return [
            LocalBatch(indices, num_chunks, per_chunk, torch.tensor([blocks[i] for i in indices], device=self.device))
            for (num_chunks, _), indices in by_shape.items()
        ]

    def _run_locals(self, state: FocusState, made: Made, new_tokens: Tensor | None) -> None:
        logits: dict[int, Tensor] = {}
        for local in state.locals:
            for places, candidates in made:
                local.put(places, candidates)
            new = None if new_tokens is None else new_tokens[local.sequences].unsqueeze(1)
            with self._recording(local, state.records) as options:
                rows = self._run_local(local, new, bool(made), options)
            logits.update(zip(local.sequences, rows, strict=True))
        state.logits = self.ranks.agreed(torch.stack([logits[index] for index in range(len(logits))]))

    @contextmanager
    def _recording(self, local: LocalBatch, is_wanted: bool) -> Iterator[dict[str, AttentionRecord]]:
        """Give the options that make a forward pass of local contexts record its attention, or none."""
        if not is_wanted or local.candidates is None:
            yield {}
            return
        if not can_record(self.base):
            raise ConfigurationError(
                f"The base's attention ({attention_of(self.base)!r}) cannot be recorded, which "
                f"`focus_share` and evidence need: load it with another `attn_implementation`, such as 'sdpa'."
            )
        with recorded(self.base, local.num_candidates, local.per_chunk) as record:
            yield {"focus_record": record}
        local.shares = record.shares()

    def _run_local(self, local: LocalBatch, new: Tensor | None, is_refreshed: bool, options: dict[str, Any]) -> Tensor:
        if new is not None:
            local.token_ids = torch.cat((local.token_ids, new), dim=1)
        # Without candidates nothing behind a token ever changes, so there is nothing to run again.
        keeps_cache = local.candidates is None or self.config.local_refresh == "cached"
        if new is not None and keeps_cache and local.cache is not None:
            if local.candidates is not None and is_refreshed:
                overwrite_prefix(local.cache, local.candidates.layers)
            return focus_forward(self.base, new, local.cache, local.num_candidates, **options)[:, -1]
        cache = growing_cache() if local.candidates is None else cache_from(local.candidates.layers)
        local.cache = cache if keeps_cache else None
        return focus_forward(self.base, local.token_ids, cache, local.num_candidates, **options)[:, -1]

    def _check_growth(self, local: LocalBatch, state: FocusState) -> None:
        longest_row = 0
        if local.candidates is not None and rows_grow(self.config):
            rows = (batch.length for batch in state.chunks.batches)
            longest_row = self.ranks.longest(max(rows, default=0)) + len(state.pending) + local.per_chunk
        check_growth(local.num_candidates + local.token_ids.shape[1] + 1, longest_row, self.window)
