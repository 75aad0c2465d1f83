"""What reading a document will cost, before it is read. Source: ours."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from focusllm.cache.candidates import CandidateKV
from focusllm.cache.chunks import ChunkCache
from focusllm.cache.layers import cache_from
from focusllm.cache.tiers import Budgets
from focusllm.chunking import SplitSequence, cut_for, cut_into_chunks, num_repeated
from focusllm.decoding.engine import FocusEngine
from focusllm.decoding.forward import focus_forward
from focusllm.decoding.limits import check_room, room_for_whole
from focusllm.decoding.modes import without_gradients
from focusllm.errors import InputError

# So many chunks are read to learn the speeds; what is in them does not matter.
_CHUNKS = 8
_TOKEN = 0


@dataclass(frozen=True)
class Estimate:
    """Bytes and seconds of one question about one document.

    Attributes:
        num_tokens: Tokens of the document.
        num_chunks: Chunks that it is cut into; 0 if it fits the window with the question and its answer.
        weight_bytes: Bytes of base and adapter.
        document_bytes: Bytes of the keys and values of all chunks; 0 without any.
        tier_bytes: How many of these would be kept on the "device", in "cpu" memory next to it and in the "folder";
            without a folder, the latter exceed what is free now.
        index_seconds: Seconds to read the document, once; 0 without chunks, where every question reads it.
        first_token_seconds: Seconds from a question to the first token of its answer.
        next_token_seconds: Seconds for each further token with the refresh settings in force, on average.
    """

    num_tokens: int
    num_chunks: int
    weight_bytes: int
    document_bytes: int
    tier_bytes: dict[str, int]
    index_seconds: float
    first_token_seconds: float
    next_token_seconds: float


@without_gradients
def estimate(engine: FocusEngine, num_tokens: int, question_tokens: int, new_tokens: int) -> Estimate:
    """Estimate from the sizes in hand and a short calibration: a few chunks are read, asked and timed.

    Raises:
        InputError: A number of tokens is none, or not a single one.
        WindowError: The base's window cannot hold that many chunks, or a chunk with its prompt; the text says which
            setting would help.
    """
    _check_counts(num_tokens=num_tokens, question_tokens=question_tokens, max_new_tokens=new_tokens)
    if num_tokens + question_tokens <= room_for_whole(engine.window, new_tokens):
        return _estimate_whole(engine, num_tokens, question_tokens)
    cut = cut_for(num_tokens, engine.config, engine.window)
    # Slices of a range take no room, however long the document.
    chunks = cut_into_chunks(range(num_tokens), *cut)
    num_read = num_tokens + num_repeated(num_tokens, *cut)
    local = [_TOKEN] * question_tokens
    check_room(SplitSequence(chunks, local), engine.config, engine.window, new_tokens)
    few = SplitSequence(tuple([_TOKEN] * len(chunk) for chunk in chunks[:_CHUNKS]), local)
    cache = engine.index([few.chunks], [question_tokens])
    candidates = engine.ask([few], cache).locals[0].candidates
    assert candidates is not None  # there are chunks
    index = _seconds(lambda: engine.index([few.chunks], [question_tokens])) / sum(map(len, few.chunks))
    few_whole, whole, one = (
        _local_seconds(engine, candidates, held, new)
        for held, new in ((few.num_chunks, question_tokens), (len(chunks), question_tokens), (len(chunks), 1))
    )
    asking = _seconds(lambda: engine.ask([few], cache)) - few_whole
    condense = max(asking, 0.0) / few.num_chunks * len(chunks)
    local_seconds = one if engine.config.local_refresh == "cached" else whole
    kept = sum(batch.num_bytes_kept() for batch in cache.batches)
    has_bos = engine.config.chunk_bos and engine.bos_token_id is not None
    num_held = num_read + len(chunks) * has_bos
    document_bytes = kept * num_held // sum(len(batch.rows) * batch.num_own for batch in cache.batches)
    return Estimate(
        num_tokens=num_tokens,
        num_chunks=len(chunks),
        weight_bytes=_weight_bytes(engine),
        document_bytes=document_bytes,
        tier_bytes=_tier_bytes(engine, document_bytes),
        index_seconds=index * num_read,
        first_token_seconds=condense + whole,
        next_token_seconds=_refresh_seconds(engine, few, cache, few_whole, new_tokens) * len(chunks) + local_seconds,
    )


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise InputError(f"`{name}` must be a whole number, at least one token; got {count!r}.")


def _estimate_whole(engine: FocusEngine, num_tokens: int, question_tokens: int) -> Estimate:
    """Estimate where document, question and answer fit the window, and the base reads them as it would by itself."""
    whole, states = SplitSequence((), [_TOKEN] * (num_tokens + question_tokens)), []
    return Estimate(
        num_tokens=num_tokens,
        num_chunks=0,
        weight_bytes=_weight_bytes(engine),
        document_bytes=0,
        tier_bytes=_tier_bytes(engine, 0),
        index_seconds=0.0,
        first_token_seconds=_seconds(lambda: states.append(engine.prefill([whole]))),
        # From a state one step can be made.
        next_token_seconds=_seconds(lambda: engine.step(states.pop(), torch.tensor([_TOKEN]))),
    )


def _weight_bytes(engine: FocusEngine) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in engine.base.parameters())


def _tier_bytes(engine: FocusEngine, document_bytes: int) -> dict[str, int]:
    return Budgets.chosen(engine.device, None, None).shared_out(document_bytes)


def _refresh_seconds(
    engine: FocusEngine, few: SplitSequence, cache: ChunkCache, local_seconds: float, new_tokens: int
) -> float:
    """Time the tokens up to a refresh of all candidates, or an answer's, in seconds a chunk and decoded token."""
    if not engine.config.candidate_refresh and engine.config.focus_share is None:
        return 0.0
    steps = min(engine.config.candidate_refresh or new_tokens, new_tokens)
    state = engine.ask([few], cache)
    started = time.perf_counter()
    for _ in range(steps):
        state = engine.step(state, torch.tensor([_TOKEN]))
    _wait()
    seconds = (time.perf_counter() - started) / steps - local_seconds
    return max(seconds, 0.0) / few.num_chunks


def _local_seconds(engine: FocusEngine, candidates: CandidateKV, num_chunks: int, num_new: int) -> float:
    """Time the focus forward of so many tokens behind the candidates of so many chunks."""
    num_held = num_chunks * engine.config.candidates_per_chunk
    room = candidates.room_for(1, num_held)
    for keys, values in room.layers:
        keys.zero_()
        values.zero_()
    tokens = torch.full((1, num_new), _TOKEN, device=engine.device)
    return _seconds(lambda: focus_forward(engine.base, tokens, cache_from(room.layers), num_held))


def _seconds(run: Callable[[], object]) -> float:
    """Return the shorter of two times; the first run of anything is slower."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        _wait()
        times.append(time.perf_counter() - started)
    return min(times)


def _wait() -> None:
    """Let a GPU finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
