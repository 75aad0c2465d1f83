"""Log-probabilities of continuations behind contexts of any length, as decoding them token by token gives them.

Source: ours; a continuation's tokens are scored by the settings the model decodes with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.config import FocusConfig
from focusllm.decoding.engine import FocusEngine
from focusllm.decoding.limits import check_room
from focusllm.decoding.state import FocusState, TokenScores
from focusllm.errors import ConfigurationError, WindowError
from focusllm.evaluation.perplexity import SegmentedText
from focusllm.evaluation.readings import Reading
from focusllm.model import FocusModel

_USUAL_STRIDE = 128


@dataclass(frozen=True)
class ContinuationScore:
    """What a model says of a continuation.

    Attributes:
        log_probability: The sum over its tokens, in nats.
        is_greedy: Whether greedy decoding would have written it.
    """

    log_probability: float
    is_greedy: bool

    @classmethod
    def over(cls, parts: Sequence[TokenScores]) -> "ContinuationScore":
        """Sum up the scores of a continuation's tokens."""
        total = sum(float(part.log_probabilities.double().sum()) for part in parts)
        return cls(total, all(bool(part.are_likeliest.all()) for part in parts))


class ContinuationScorer:
    """Scores continuations of contexts.

    Of a context that does not fit the window with its longest continuation, the last ``local_length`` tokens are the
    local context, as when so many tokens are generated; its chunks are read once for all continuations. What exceeds
    the window even so is scored in segments, each from the local context before it and the chunks before that.

    Args:
        model: The model.
        stride: Tokens of a segment; by default 128, or an eighth of a window of less than 1,024.

    Raises:
        ConfigurationError: The stride leaves no room in the window.
    """

    def __init__(self, model: FocusModel, stride: int | None = None) -> None:
        self._model, self._reading = model, Reading()
        self._engine: FocusEngine = model._engine
        self._stride = max(min(_USUAL_STRIDE, model.window // 8), 1) if stride is None else stride
        if not 0 < self._stride <= model.window // 2:
            raise ConfigurationError(f"`stride` must be from 1 to half the window, {model.window // 2}; got {stride}.")

    def scores(self, context: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[ContinuationScore]:
        """Score the continuations of one context.

        Raises:
            InputError: The context is empty.
            WindowError: Chunks, or candidates and local context, do not fit the window with one segment.
        """
        new_tokens = max(map(len, continuations))
        [sequence] = self._engine.split([context], new_tokens)
        if not self._has_room(sequence, new_tokens):
            return [self._in_segments(context, continuation) for continuation in continuations]
        chunks = self._reading.of(self._engine, sequence) if sequence.chunks else ChunkCache()
        found = self._behind(partial(self._engine.ask, [sequence], chunks), continuations)
        return [ContinuationScore.over([scores]) for scores in found]

    def _has_room(self, sequence: SplitSequence, new_tokens: int) -> bool:
        try:
            check_room(sequence, self._engine.config, self._engine.window, new_tokens)
        except WindowError:
            return False
        # A single token of context that had to become a chunk has nothing behind it.
        return len(sequence.local) > 0

    def _in_segments(self, context: Sequence[int], continuation: Sequence[int]) -> ContinuationScore:
        text = SegmentedText(self._model, [*context, *continuation], self._stride, first=len(context))
        parts: list[TokenScores] = []
        for last in text.starts()[-1:]:
            check_room(text.split(last), self._engine.config, self._engine.window, self._stride)
        for start in text.starts():
            parts += self._behind(partial(text.before, start), [text.tokens(start)])
        return ContinuationScore.over(parts)

    def _behind(self, ask: Callable[[], FocusState], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Score runs of tokens that each go on from the same state, which can be had as often as it is needed."""
        state = ask()
        if not any(state.num_chunks) or _stays(self._engine.config, max(map(len, rows))):
            return self._engine.score(state, rows)
        return [self._by_steps(ask() if number else state, row) for number, row in enumerate(rows)]

    def _by_steps(self, state: FocusState, token_ids: Sequence[int]) -> TokenScores:
        parts = []
        for number, token in enumerate(token_ids):
            if number:
                state = self._engine.step(state, torch.tensor(token_ids[number - 1 : number]))
            parts.append(TokenScores.of(state.logits, [token]))
        return TokenScores(
            torch.cat([part.log_probabilities for part in parts]), torch.cat([part.are_likeliest for part in parts])
        )


def _stays(config: FocusConfig, new_tokens: int) -> bool:
    """Tell whether so many tokens are all predicted from the candidates and the local context there are at first."""
    is_made_once = config.candidate_refresh == 0 or new_tokens <= config.candidate_refresh
    return new_tokens <= 1 or (config.local_refresh == "cached" and config.focus_share is None and is_made_once)
