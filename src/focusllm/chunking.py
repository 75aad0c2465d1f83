"""Cutting token sequences into chunks and a local context, and building blocks: integers in, integers out."""

from collections.abc import Sequence
from dataclasses import dataclass

from focusllm.errors import InputError


@dataclass(frozen=True)
class SplitSequence:
    """One sequence, divided for the method.

    Attributes:
        chunks: The chunks in order, possibly from several documents; empty where the sequence fits the window.
        local: The local context, which the answer continues.
    """

    chunks: tuple[Sequence[int], ...]
    local: Sequence[int]

    @property
    def num_chunks(self) -> int:
        """How many chunks there are, and so how many candidates."""
        return len(self.chunks)

    @property
    def num_tokens(self) -> int:
        """How many tokens the sequence has in all."""
        return sum(map(len, self.chunks)) + len(self.local)


def cut_into_chunks(token_ids: Sequence[int], chunk_length: int) -> tuple[Sequence[int], ...]:
    """Cut a document from its start into chunks; the last one may be shorter. Source: design of the published code."""
    return tuple(token_ids[start : start + chunk_length] for start in range(0, len(token_ids), chunk_length))


def split_sequence(token_ids: Sequence[int], window: int, chunk_length: int, local_length: int) -> SplitSequence:
    """Divide a sequence into chunks and the last ``local_length`` tokens, unless it fits the window.

    Args:
        token_ids: The sequence; it must not be empty.
        window: How many tokens may be kept whole.
        chunk_length: Tokens in a chunk.
        local_length: Tokens of the local context.

    Raises:
        InputError: The sequence is empty.
    """
    if not token_ids:
        raise InputError("The sequence is empty: there is nothing to predict from. Give at least one token.")
    if len(token_ids) <= window:
        return SplitSequence((), token_ids)
    # Of a sequence just over the window at least one token must be left for the chunks.
    boundary = max(len(token_ids) - local_length, 1)
    return SplitSequence(cut_into_chunks(token_ids[:boundary], chunk_length), token_ids[boundary:])


def split_documents(documents: Sequence[Sequence[Sequence[int]]], local: Sequence[int], window: int) -> SplitSequence:
    """Join the chunks of documents, which never span two of them, with ``local`` as the local context.

    Args:
        documents: The chunks of each document.
        local: The local context.
        window: How many tokens may be kept whole.

    Raises:
        InputError: The local context is empty.
    """
    if not local:
        raise InputError("The local context is empty: ask a question, or give the text to be continued.")
    chunks = tuple(chunk for document in documents for chunk in document)
    if sum(map(len, chunks)) + len(local) <= window:
        return SplitSequence((), [token for part in (*chunks, local) for token in part])
    return SplitSequence(chunks, local)


def block(token_ids: Sequence[int], bos_token_id: int | None) -> list[int]:
    """Put BOS before a run of tokens, unless it starts with it already or the tokenizer has none."""
    if bos_token_id is None or (token_ids and token_ids[0] == bos_token_id):
        return list(token_ids)
    return [bos_token_id, *token_ids]


def prompt_block(local: Sequence[int], dynamic_prompt_length: int, bos_token_id: int | None) -> list[int]:
    """Return the last ``dynamic_prompt_length`` tokens of the local context as a block. Source: paper, section 2.2."""
    return block(local[-dynamic_prompt_length:], bos_token_id)
