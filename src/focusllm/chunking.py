"""Cutting token sequences into chunks and a local context, and building blocks: integers in, integers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from focusllm.config import FocusConfig
from focusllm.errors import InputError


@runtime_checkable
class CutDocument(Protocol):
    """A document that was cut into chunks."""

    token_ids: Sequence[int]
    chunks: tuple[Sequence[int], ...]

    @property
    def num_repeated(self) -> int:
        """How many of its tokens stand in two chunks."""
        ...


@dataclass(frozen=True)
class SplitSequence:
    """One sequence, divided for the method.

    Attributes:
        chunks: The chunks in order, possibly from several documents; empty where the sequence fits the window.
        local: The local context, which the answer continues.
        num_repeated: How many tokens stand in two chunks, because chunks overlap.
    """

    chunks: tuple[Sequence[int], ...]
    local: Sequence[int]
    num_repeated: int = 0

    @property
    def num_chunks(self) -> int:
        """How many chunks there are, and so how many candidates."""
        return len(self.chunks)

    @property
    def num_tokens(self) -> int:
        """How many tokens the sequence has in all."""
        return sum(map(len, self.chunks)) - self.num_repeated + len(self.local)


def cut_for(num_tokens: int, config: FocusConfig, window: int) -> tuple[int, int]:
    """Return how long the chunks of a text are, and by how much they overlap.

    See ``longest_chunk`` of :class:`~focusllm.config.FocusConfig`.

    Args:
        num_tokens: Tokens of the text.
        config: The method's settings.
        window: Tokens the base can attend to at once.
    """
    length, longest = config.chunk_length, config.longest_chunk or 0
    # An eighth of the window is left to what is decoded.
    room = max((window - window // 8 - config.local_length) // config.candidates_per_chunk, 1)
    while -(-num_tokens // length) > room and 2 * length <= longest:
        length *= 2
    return length, config.chunk_overlap


def cut_into_chunks(token_ids: Sequence[int], chunk_length: int, overlap: int = 0) -> tuple[Sequence[int], ...]:
    """Cut a document from its start into chunks; the last one may be shorter. Source: design of the published code.

    With ``overlap``, every chunk but the first one starts with so many tokens of the chunk before it (ours).
    """
    starts = range(0, len(token_ids), chunk_length)
    return tuple(token_ids[max(start - overlap, 0) : start + chunk_length] for start in starts)


def num_repeated(num_tokens: int, chunk_length: int, overlap: int) -> int:
    """Return how many tokens of a document stand in two of its chunks."""
    return sum(min(overlap, start) for start in range(0, num_tokens, chunk_length))


def split_sequence(
    token_ids: Sequence[int], window: int, chunk_length: int, local_length: int, overlap: int = 0
) -> SplitSequence:
    """Divide a sequence into chunks and the last ``local_length`` tokens, unless it fits the window.

    Args:
        token_ids: The sequence; it must not be empty.
        window: How many tokens may be kept whole.
        chunk_length: Tokens in a chunk.
        local_length: Tokens of the local context.
        overlap: Tokens of the chunk before that a chunk starts with.

    Raises:
        InputError: The sequence is empty.
    """
    if not token_ids:
        raise InputError("The sequence is empty: there is nothing to predict from. Give at least one token.")
    if len(token_ids) <= window:
        return SplitSequence((), token_ids)
    # Of a sequence just over the window at least one token must be left for the chunks.
    boundary = max(len(token_ids) - local_length, 1)
    chunks = cut_into_chunks(token_ids[:boundary], chunk_length, overlap)
    return SplitSequence(chunks, token_ids[boundary:], num_repeated(boundary, chunk_length, overlap))


def join_documents(documents: Sequence[CutDocument], local: Sequence[int], window: int) -> SplitSequence:
    """Join the chunks of documents, which never span two of them, with ``local`` as the local context.

    Args:
        documents: The documents.
        local: The local context.
        window: How many tokens may be kept whole.

    Raises:
        InputError: The local context is empty.
    """
    if not local:
        raise InputError("The local context is empty: ask a question, or give the text to be continued.")
    if sum(len(document.token_ids) for document in documents) + len(local) <= window:
        wholes = [document.token_ids for document in documents]
        return SplitSequence((), [token for part in (*wholes, local) for token in part])
    chunks = tuple(chunk for document in documents for chunk in document.chunks)
    return SplitSequence(chunks, local, sum(document.num_repeated for document in documents))


def check_vocabulary(token_ids: Sequence[int], vocabulary: int) -> None:
    """Check that a base can embed tokens.

    Args:
        token_ids: The tokens.
        vocabulary: How many tokens the base knows.

    Raises:
        InputError: One is beyond the vocabulary.
    """
    for found in (min(token_ids, default=0), max(token_ids, default=0)):
        if not 0 <= found < vocabulary:
            raise InputError(
                f"Token {found} is not in the base's vocabulary, whose ids go from 0 to {vocabulary - 1}: "
                f"encode text with the base's own tokenizer."
            )


def pieces(total: int, at_once: int) -> list[slice]:
    """Cut so many things into runs of at most so many."""
    return [slice(first, min(first + at_once, total)) for first in range(0, total, at_once)]


def block(token_ids: Sequence[int], bos_token_id: int | None) -> list[int]:
    """Put BOS before a run of tokens, unless it starts with it already or the tokenizer has none."""
    if bos_token_id is None or (token_ids and token_ids[0] == bos_token_id):
        return list(token_ids)
    return [bos_token_id, *token_ids]


def prompt_block(local: Sequence[int], config: FocusConfig, bos_token_id: int | None) -> list[int]:
    """Return the block that follows every chunk: the end of the local context, or a static prompt.

    Source: paper, section 2.2; static prompts: ours.
    """
    return block(config.static_prompt or local[-config.dynamic_prompt_length :], bos_token_id)
