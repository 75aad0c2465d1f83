"""What fits the base's window, said before anything runs."""

from collections.abc import Sequence

from focusllm.chunking import SplitSequence
from focusllm.config import FocusConfig
from focusllm.errors import WindowError


def check_room(sequence: SplitSequence, config: FocusConfig, window: int, new_tokens: int = 0) -> None:
    """Check that a divided sequence and the tokens to be decoded fit the base's window.

    Args:
        sequence: The sequence.
        config: The method's settings.
        window: Tokens the base can attend to at once.
        new_tokens: Tokens that will be decoded after it.

    Raises:
        WindowError: Something does not fit; the text says what, by how much, and which setting would help.
    """
    if not sequence.chunks:
        _check_whole(len(sequence.local), new_tokens, window)
        return
    # BOS and the prompt, whose last token is the first candidate.
    prompt = config.prompt_length(len(sequence.local)) + config.candidates_per_chunk
    chunk, behind = max(map(len, sequence.chunks)) + config.chunk_bos, new_tokens if rows_grow(config) else 0
    if chunk + prompt + behind > window:
        longest = window - prompt - behind - config.chunk_bos - config.chunk_overlap
        advice = f"Use `chunk_length` of at most {longest}, or" if longest > 0 else "Use"
        raise WindowError(
            f"A chunk of {chunk} tokens with a prompt block of {prompt} and {behind} new tokens needs "
            f"{chunk + prompt + behind} positions; the base's window has {window}. "
            f"{advice} a shorter `dynamic_prompt_length`, or fewer new tokens."
        )
    local = 1 + len(sequence.local) + new_tokens
    candidates = sequence.num_chunks * config.candidates_per_chunk
    if candidates + local > window:
        room = (window - local) // config.candidates_per_chunk
        raise WindowError(
            f"{candidates} candidates and {local} local tokens (new ones included) need "
            f"{candidates + local} positions; the base's window has {window}. "
            + _larger_chunks(sequence, window, room, prompt + behind + config.chunk_bos + config.chunk_overlap)
        )


def rows_grow(config: FocusConfig) -> bool:
    """Say whether tokens that are decoded come behind the chunks, too: where candidates are made again."""
    return config.candidate_refresh > 0 or config.focus_share is not None


def room_for_whole(window: int, new_tokens: int) -> int:
    """Return how many tokens, documents and question together, are left whole: beside them stand BOS and an answer.

    Args:
        window: Tokens the base can attend to at once.
        new_tokens: Tokens that will be decoded after them.
    """
    return window - new_tokens - 1


def room_for_local(chunks: Sequence[Sequence[int]], config: FocusConfig, window: int, new_tokens: int) -> int:
    """Return how long a local context may be: as long as ``local_length`` says, or as the window has room for.

    Args:
        chunks: The chunks it comes behind.
        config: The method's settings.
        window: Tokens the base can attend to at once.
        new_tokens: Tokens that will be decoded after it.
    """
    # BOS stands in every block, and so does what is to come, unless candidates are made but once.
    room = window - 1 - new_tokens
    beside_longest = window - config.candidates_per_chunk - max(map(len, chunks), default=0) - config.chunk_bos
    beside_longest -= new_tokens if rows_grow(config) else 0
    beside_candidates = room - len(chunks) * config.candidates_per_chunk
    # No more of a local context than its prompt comes behind a chunk.
    is_limited = not config.static_prompt and beside_longest < config.dynamic_prompt_length
    return min(config.local_length, beside_candidates, beside_longest if is_limited else room)


def _larger_chunks(sequence: SplitSequence, window: int, room: int, beside_chunk: int) -> str:
    """Say how long chunks must be so that there are no more of them than there is room for."""
    memory = sequence.num_tokens - len(sequence.local)
    needed = -(-memory // room) if room > 0 else window
    if needed + beside_chunk <= window:
        return f"Use `chunk_length` of at least {needed}, or a shorter local context."
    return "No chunk length fits both: shorten the text, the local context, or use a base with a larger window."


def _check_whole(length: int, new_tokens: int, window: int) -> None:
    if length + new_tokens > window:
        raise WindowError(
            f"{length} tokens and {new_tokens} new ones exceed the base's window of {window}, and the sequence was "
            f"kept whole. Ask for fewer new tokens, or let it be split."
        )


def check_growth(local_positions: int, row_positions: int, window: int) -> None:
    """Check that one more token fits behind the candidates and behind every chunk.

    Raises:
        WindowError: It does not.
    """
    needed = max(local_positions, row_positions)
    if needed > window:
        place = "the local context" if local_positions >= row_positions else "a chunk with its prompt block"
        raise WindowError(
            f"With this token {place} would need {needed} positions; the base's window has {window}. "
            f"Stop here, or start with shorter chunks or a shorter local context."
        )
