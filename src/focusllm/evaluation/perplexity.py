"""Perplexity over every token of a long text, by position.

Each token is predicted from the local context before it and the chunks before that, in segments: at the start of each
the chunks are condensed for the local context there, and its tokens are scored in one pass. Source: ours; the base is
given its window in the same segments.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.chunking import SplitSequence, block, cut_for, cut_into_chunks
from focusllm.decoding.engine import FocusEngine
from focusllm.decoding.limits import check_room
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError, InputError
from focusllm.evaluation.intervals import Interval, bootstrap_interval
from focusllm.evaluation.report import as_markdown
from focusllm.evaluation.resuming import alone_in, identity_of, opened_run
from focusllm.files import append_line, ids_checksum
from focusllm.model import FocusModel

SEGMENTS_NAME = "segments.jsonl"


@dataclass(frozen=True)
class Segment:
    """A run of tokens that was scored together.

    Attributes:
        start: Where it starts in the text.
        loss: Mean negative log-likelihood of its tokens, in nats.
        count: How many tokens it has.
    """

    start: int
    loss: float
    count: int


class SegmentedText:
    """A text of any length, whose tokens are predicted segment by segment, each of them once.

    Args:
        model: The model.
        token_ids: The text.
        stride: Tokens of a segment; the last one may be shorter.
        first: The first token that is predicted.
        bos_token_id: Put before what is read whole. Without it, a text's very first token cannot be predicted.
        by_base: Whether the base reads it alone, within its window.
    """

    def __init__(
        self,
        model: FocusModel,
        token_ids: Sequence[int],
        stride: int,
        *,
        first: int = 0,
        bos_token_id: int | None = None,
        by_base: bool = False,
    ) -> None:
        self._engine: FocusEngine = model._engine
        self._ids, self._stride, self._first = list(token_ids), stride, first
        self._bos_token_id, self._by_base = bos_token_id, by_base
        self._whole: ChunkCache | None = None

    def starts(self) -> range:
        """Where segments start."""
        return range(self._first, len(self._ids), self._stride)

    def tokens(self, start: int) -> list[int]:
        """Return the tokens of a segment that are predicted."""
        has_nothing_before = start == 0 and self._bos_token_id is None
        return self._ids[start + has_nothing_before : start + self._stride]

    def split(self, start: int) -> SplitSequence:
        """Divide what comes before a segment; the first segments, and the base, have as much as the window holds."""
        config, within = self._engine.config, self._engine.window - self._stride - 1
        if start <= within or self._by_base:
            context = block(self._ids[max(start - within, 0) : start], self._bos_token_id)
            return SplitSequence((), context or self._ids[:1])
        # A local context as long as all there is would leave nothing to the chunks: it does not fit, and says so.
        boundary = max(start - config.local_length, 1)
        chunks = cut_into_chunks(self._ids[:boundary], *cut_for(len(self._ids), config, self._engine.window))
        return SplitSequence(chunks, self._ids[boundary:start])

    def before(self, start: int) -> FocusState:
        """Return the state that a segment goes on from."""
        sequence = self.split(start)
        return self._engine.ask([sequence], self._chunks(sequence) if sequence.chunks else ChunkCache())

    def _chunks(self, sequence: SplitSequence) -> ChunkCache:
        """Return the chunks of a part of the text; those that are whole have been read once, for all segments."""
        prompt = [self._engine.config.prompt_length(len(sequence.local)) + 1]
        if self._whole is None:
            last = self.split(self.starts()[-1]).chunks
            self._whole = self._engine.index([[*last[:-1]]], prompt)
        num_whole = len(sequence.chunks) - 1
        parts = [part for batch in self._whole.batches if (part := _beginning(batch, num_whole)) is not None]
        known = [(0, number) for number in range(num_whole)]
        return ChunkCache([*parts, *self._engine.index([sequence.chunks], prompt, known=known).batches])


class Perplexity:
    """Scores a text segment by segment; a rest that is shorter than a segment is left out.

    Args:
        model: The model; its local context must be kept (``local_refresh="cached"``).
        token_ids: The text.
        stride: Tokens of a segment.
        by_base: Whether the base does it alone, within its window.
        most_segments: Of the segments between positions that double, at most so many are scored, evenly spread;
            ``None``: all. Which ones depends on nothing but the text's length, so that systems are given the same.

    Raises:
        ConfigurationError: Local contexts are not kept, the stride leaves no room in the window, or there are to be
            no segments.
        InputError: The text is shorter than two segments.
        WindowError: A chunk, or candidates, local context and segment, exceed the window.
    """

    def __init__(
        self,
        model: FocusModel,
        token_ids: Sequence[int],
        stride: int,
        by_base: bool = False,
        most_segments: int | None = None,
    ) -> None:
        if model.config.local_refresh != "cached" and not by_base:
            raise ConfigurationError("Perplexity needs the local context kept: set `local_refresh` to 'cached'.")
        if not 0 < stride <= model.window // 2:
            raise ConfigurationError(f"`stride` must be from 1 to half the window, {model.window // 2}; got {stride}.")
        if len(token_ids) < 2 * stride:
            raise InputError(f"The text has {len(token_ids)} tokens, which are less than two segments of {stride}.")
        if most_segments is not None and most_segments < 1:
            raise ConfigurationError(f"At least 1 segment of each range must be scored; got {most_segments}.")
        self._model, self._ids, self._stride, self._by_base = model, list(token_ids), stride, by_base
        self._most_segments = most_segments
        self._engine: FocusEngine = model._engine
        segments = self._ids[: len(self._ids) - len(self._ids) % stride]
        bos = self._engine.bos_token_id
        self.text = SegmentedText(model, segments, stride, bos_token_id=bos, by_base=by_base)
        self._check_room()

    def _check_room(self) -> None:
        """Check the last segment, before which there are most chunks; its tokens lengthen the local context only."""
        last = self.text.starts()[-1]
        before, config = self.text.split(last), self._engine.config
        prompt_length = config.prompt_length(len(before.local))
        segment = replace(before, local=[*before.local, *self.text.tokens(last)])
        check_room(segment, replace(config, dynamic_prompt_length=prompt_length), self._engine.window)

    def starts(self) -> list[int]:
        """Return where the segments start that are scored."""
        every = self.text.starts()
        ranges = _doubling(self._model.window, every[-1])
        within = [[one for one in every if start <= one < end] for start, end in ranges]
        return [some[place] for some in within for place in _evenly(len(some), self._most_segments)]

    def header(self) -> dict[str, Any]:
        """Return what the losses depend on."""
        return {
            "task": "perplexity",
            "system": "base, within its window" if self._by_base else "focusllm",
            "config": self._model.config.to_dict(),
            "model": identity_of(self._model),
            "stride": self._stride,
            "window": self._model.window,
            "num_tokens": len(self._ids),
            "text_checksum": ids_checksum(self._ids),
            "dtype": str(next(self._model.parameters()).dtype),
        }

    def segment(self, start: int) -> Segment:
        """Score one segment."""
        tokens = self.text.tokens(start)
        [scores] = self._engine.score(self.text.before(start), [tokens])
        return Segment(start, -float(scores.log_probabilities.double().mean()), len(tokens))


def _beginning(batch: ChunkBatch, num_chunks: int) -> ChunkBatch | None:
    """Return those rows of a batch that are among the first chunks; ``None`` where none of them is."""
    rows = [row for row, (_, number) in enumerate(batch.rows) if number < num_chunks]
    return batch.own_part(rows) if rows else None


def run_perplexity(
    scored: Perplexity, output: Path, done: Callable[[Segment, bool], None] = lambda _, is_new: None
) -> list[Segment]:
    """Score all segments that the output file does not hold yet.

    Args:
        scored: What scores.
        output: File of JSON lines; the first says what the run is, each other one is a segment.
        done: Called with every segment, and whether it is new: what the file held already took no time.

    Raises:
        InputError: The file holds another run, or is being written.
    """
    segments = []
    with alone_in([output.parent]):
        known = {start: Segment(**record) for start, record in opened_run(output, scored.header(), "start").items()}
        for start in scored.starts():
            if is_new := start not in known:
                known[start] = scored.segment(start)
                append_line(output, vars(known[start]))
            segments.append(known[start])
            done(known[start], is_new)
    return segments


@dataclass(frozen=True)
class PositionResult:
    """Perplexity of the tokens between two positions.

    Attributes:
        start: The first position.
        end: The one behind the last.
        perplexity: Exponential of the mean loss.
        interval: Its 95% interval, by bootstrap over segments; ``None`` where these do not vary, such as a single one.
        count: Tokens.
        num_segments: Segments that they stand in.
    """

    start: int
    end: int
    perplexity: float
    interval: Interval | None
    count: int
    num_segments: int


def by_position(segments: Sequence[Segment], first_end: int) -> list[PositionResult]:
    """Sum up segments between positions that double, the first range ending at ``first_end``."""
    results = []
    for start, end in _doubling(first_end, segments[-1].start):
        some = [segment for segment in segments if start <= segment.start < end]
        if some:
            count = sum(segment.count for segment in some)
            mean = sum(segment.loss * segment.count for segment in some) / count
            losses = bootstrap_interval([segment.loss for segment in some])
            interval = None if losses is None else (_exponential(losses[0]), _exponential(losses[1]))
            results.append(PositionResult(start, end, _exponential(mean), interval, count, len(some)))
    return results


def _doubling(first_end: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of positions, each as long as all before it together, until the last position is in one."""
    start, end = 0, first_end
    while start <= last:
        yield start, end
        start, end = end, 2 * end


def _evenly(count: int, most: int | None) -> list[int]:
    """Return so many of the numbers below a count at most, evenly spread."""
    chosen = count if most is None else min(count, most)
    return [number * count // chosen for number in range(chosen)]


def _exponential(loss: float) -> float:
    """Return infinity where there is no number so large: a broken base is not to break the table."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def perplexity_table(results: Sequence[PositionResult]) -> str:
    """Write the results as a Markdown table."""
    table = [["positions", "perplexity", "95% interval", "tokens"]]
    for result in results:
        positions, interval = f"{result.start:,} to {result.end:,}", f"none, segments: {result.num_segments}"
        if result.interval is not None:
            interval = "{:.2f} to {:.2f}".format(*result.interval)
        table.append([positions, f"{result.perplexity:.2f}", interval, f"{result.count:,}"])
    return as_markdown(table) + "\n"
