"""The condense pass: chunks with their prompt in, candidates out. Source: paper, section 2.2 and equation (3)."""

import logging

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkBatch
from focusllm.cache.layers import cache_tensors, rows_of
from focusllm.chunking import pieces
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.attention import attention_by, attention_of, behind_chunks
from focusllm.condensing.families import backbone_of, check_keeps_states, key_mover_of
from focusllm.errors import StateError

_LOGGER = logging.getLogger(__name__)


class Condenser:
    """Runs rows of tokens behind what their chunks hold already and takes the last position as the candidate.

    Args:
        base: The base model the adapter is attached to.
        adapter: Its candidate projections.
        per_chunk: How many candidates stand for a chunk: the last token is run so many times (more than 1: ours).
    """

    def __init__(self, base: PreTrainedModel, adapter: CandidateAdapter, per_chunk: int = 1) -> None:
        self._base = base
        self._per_chunk = per_chunk
        self._backbone = backbone_of(base)
        self._adapter = adapter
        self._has_warned = False
        self.mover = key_mover_of(base)

    def condense(
        self, batch: ChunkBatch, token_ids: Int[Tensor, "rows new_tokens"], rows_at_once: int | None = None
    ) -> CandidateKV:
        """Run new tokens through the base; the last one is the candidate, the others join the chunk.

        What had been the candidate joins the chunk as well, as an ordinary token.

        Args:
            batch: The chunks; their cache grows by all new tokens but the last.
            token_ids: At the first pass the prompt block; later the tokens decoded since.
            rows_at_once: How many chunks go through the base at once; ``None``: all.

        Returns:
            The candidates of the batch's places, side by side and moved to where their chunk's number puts them:
            candidate i of a sequence is at position i, wherever its row ended.

        Raises:
            StateError: The adapter is detached: candidates would be ordinary tokens.
        """
        if not self._adapter.is_attached:
            raise StateError(
                "The candidate projections have been taken out of the base (`detach`, `disabled`), which reads within "
                "its window without them: put them back with `model.adapter.attach()` to read what is longer."
            )
        if batch.candidate_ids is not None:
            token_ids = torch.cat((batch.candidate_ids.unsqueeze(1), token_ids), dim=1)
        batch.candidate_ids = token_ids[:, -1]
        held, device, per_chunk = batch.cache.get_seq_length(), token_ids.device, self._per_chunk
        token_ids = torch.cat((token_ids, token_ids[:, -1:].expand(-1, per_chunk - 1)), dim=1)
        rows, new_tokens = token_ids.shape
        last = torch.arange(new_tokens - per_chunk, new_tokens, device=device)
        for some in pieces(rows, rows_at_once or rows):
            starts = torch.arange(some.stop - some.start, device=device) * new_tokens
            with self._adapter.gate.open_at((starts.unsqueeze(1) + last).flatten()):
                padding = None if batch.padding is None else batch.padding[some]
                self.extend(rows_of(batch.cache, some, rows, held), token_ids[some], padding)
        candidates = CandidateKV(
            [
                (keys[..., -per_chunk:, :].clone(), values[..., -per_chunk:, :].clone())
                for keys, values in cache_tensors(batch.cache)
            ]
        )
        batch.cache.crop(-per_chunk)
        numbers = torch.tensor([[chunk] for _, chunk in batch.places], device=device)
        ends = (held + last).expand(rows, -1)
        if batch.padding is not None:
            ends = ends - batch.padding.unsqueeze(1)
        if batch.repeats:
            standing = torch.tensor(batch.row_of_place, device=device)
            candidates, ends = candidates.rows(standing), ends[standing]
        own = numbers * per_chunk + torch.arange(per_chunk, device=device)
        return candidates.moved(self.mover, own - ends)

    def extend(
        self, cache: Cache, token_ids: Int[Tensor, "rows new_tokens"], padding: Int[Tensor, " rows"] | None = None
    ) -> None:
        """Run new tokens through the base behind what a cache of chunks holds, and keep their keys and values.

        Args:
            cache: The cache; it grows by the new tokens.
            token_ids: The new tokens.
            padding: How many tokens at the start of each row are nothing; ``None``: there are none such.

        Raises:
            StateError: The base keeps none; see :func:`check_keeps_states`.
        """
        check_keeps_states(self._base)
        self._warn_if_untrained()
        held = cache.get_seq_length()
        positions = torch.arange(held, held + token_ids.shape[1], device=token_ids.device).expand(token_ids.shape)
        options: dict[str, Tensor] = {}
        if padding is not None:
            places = torch.arange(held + token_ids.shape[1], device=token_ids.device)
            options["attention_mask"] = (places >= padding.unsqueeze(1)).long()
            positions = positions - padding.unsqueeze(1)
        implementation = behind_chunks(self._base, padding is not None) if held else attention_of(self._base)
        with attention_by(self._base, implementation):
            self._backbone(
                input_ids=token_ids, position_ids=positions, past_key_values=cache, use_cache=True, **options
            )

    def _warn_if_untrained(self) -> None:
        """Say once, and before the first chunk is read, what users would otherwise wonder about."""
        if not self._has_warned and self._adapter.is_untrained:
            _LOGGER.warning(
                "This base has no trained adapter: its candidates are ordinary tokens, and what it says of texts "
                "beyond its window will hardly rest on them. Load an adapter made for it (`adapter=`, --adapter), or "
                "train one with `focusllm train` (docs/training.md)."
            )
        self._has_warned = True
