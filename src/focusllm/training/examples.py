"""Drawing training examples: chunk lengths, numbers of chunks, local lengths and cuts.

Source: paper, appendix C; virtual chunks and cuts inside the supervised part: ours.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, WindowError
from focusllm.training.packing import TrainingExample

# The least that settings of draws can be.
_LEAST = {"row_tokens": 1, "max_chunks": 1, "max_sequences": 1, "local_filler": 0, "virtual_chunks": 0}


@dataclass(frozen=True)
class Draws:
    """What was drawn for the samples of one batch.

    Attributes:
        chunk_length: Tokens in a chunk.
        num_chunks: Chunks in the memory of a sample, about.
        local_filler: Tokens of other text in the local context, before what matters in it.
        early_cut: Chance that the cut falls before the supervised part, in tokens of the local context.
        late_cut: Chance that the cut falls inside the supervised part.
    """

    chunk_length: int
    num_chunks: int
    local_filler: int
    early_cut: float
    late_cut: float

    @property
    def memory_length(self) -> int:
        """Tokens of memory of a sample, about."""
        return self.chunk_length * self.num_chunks

    def cut_offset(self, rng: random.Random, before: int, supervised: int) -> int:
        """Draw how far the cut lies from the last token before the supervised part."""
        kind = rng.random()
        if kind < self.late_cut:
            return rng.randint(0, supervised - 1)
        if kind < self.late_cut + self.early_cut:
            return -rng.randint(0, min(4, before - 1))
        return 0


@dataclass(frozen=True)
class Sample:
    """What a source draws: a memory in chunks, a local context, a cut and weights.

    Attributes:
        chunks: The memory's chunks.
        protected: Chunks that the answer rests on. Other chunks may be counted several times over, to
            stand for the many chunks of a longer document; where nothing is known, all are protected.
        local: The local context with the tokens to be predicted.
        cut: See :class:`~focusllm.training.packing.TrainingExample`.
        weights: For each local token, how much predicting it counts.
        room: Of how many samples of the size that was drawn it takes the place in a batch.
    """

    chunks: Sequence[Sequence[int]]
    protected: Sequence[bool]
    local: Sequence[int]
    cut: int
    weights: Sequence[float]
    room: int = 1


@runtime_checkable
class Source(Protocol):
    """Something samples can be drawn from."""

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw one sample."""
        ...


@dataclass(frozen=True)
class DrawSettings:
    """How training examples are drawn during one stage of a run.

    Attributes:
        until: The share of the run, from 0 to 1, after which the stage ends.
        chunk_lengths: Lengths of chunks, drawn equally often.
        row_tokens: About how many tokens of chunks and prompt blocks a batch has.
        max_chunks: Most chunks of a sample.
        max_sequences: Most samples in a batch.
        local_filler: Most tokens of other text at the start of the local context.
        early_cut: Chance that the cut falls before the supervised part.
        late_cut: Chance that the cut falls inside it.
        virtual_chunks: How many chunks a sample may stand for, at most: chunks without the answer are counted
            several times, and candidates are spread over as many positions (ours). 0 turns this off.
        candidate_refreshes: Refresh intervals that samples are decoded with, drawn equally often (see
            :class:`~focusllm.config.FocusConfig`); an adapter is only good at those it was trained with (ours).
        supervision: ``"all"`` positions from the cut on, or the ``"last"`` one only, as in the published code.
    """

    until: float = 1.0
    chunk_lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    row_tokens: int = 8192
    max_chunks: int = 128
    max_sequences: int = 8
    local_filler: int = 0
    early_cut: float = 0.2
    late_cut: float = 0.3
    virtual_chunks: int = 0
    candidate_refreshes: tuple[int, ...] = (1,)
    supervision: str = "all"

    def __post_init__(self) -> None:
        self._check_chances()
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigurationError(f"`{name}` of draws must be {least} or more; got {getattr(self, name)!r}.")
        if self.supervision not in ("all", "last"):
            raise ConfigurationError(f"`supervision` must be 'all' or 'last'; got {self.supervision!r}.")
        if not self.chunk_lengths or min(self.chunk_lengths) < 1:
            raise ConfigurationError(f"`chunk_lengths` must be positive numbers of tokens; got {self.chunk_lengths}.")
        if not self.candidate_refreshes or min(self.candidate_refreshes) < 0:
            raise ConfigurationError(
                f"`candidate_refreshes` must be numbers of tokens, 0 or more; got {self.candidate_refreshes}."
            )

    def _check_chances(self) -> None:
        if not 0 < self.until <= 1:
            raise ConfigurationError(f"`until` of draws must be above 0 and at most 1; got {self.until!r}.")
        if min(self.early_cut, self.late_cut) < 0 or self.early_cut + self.late_cut > 1:
            raise ConfigurationError(
                f"`early_cut` and `late_cut` of draws must be chances, 0 or more, that add up to 1 at most; "
                f"got {self.early_cut!r} and {self.late_cut!r}."
            )


class ExampleDrawer:
    """Draws batches of training examples from weighted sources.

    Args:
        sources: Sources with the share each has of the samples.
        stages: From what the draws are made, in order; few short chunks first make finding a fact far quicker
            to learn.
        prompt_length: Tokens of prompt block to be expected behind each chunk, for sizing.
        checksums: Of what the sources draw from.
    """

    def __init__(
        self,
        sources: Mapping[Source, float],
        stages: Sequence[DrawSettings],
        prompt_length: int,
        checksums: Sequence[str] = (),
    ) -> None:
        self.checksums = checksums
        self._sources = list(sources)
        self._shares = list(sources.values())
        self._stages = stages
        self._prompt_length = prompt_length

    def draw(self, rng: random.Random, done: float = 0.0) -> list[TrainingExample]:
        """Draw the examples of one batch; ``done`` is the share of the run that is over."""
        settings = next((stage for stage in self._stages if done < stage.until), self._stages[-1])
        chunk_length = rng.choice(settings.chunk_lengths)
        local_filler = rng.randint(0, settings.local_filler) if rng.random() < 0.5 else 0
        row = _usual_row(chunk_length, local_filler, self._prompt_length)
        affordable = max(settings.row_tokens // row, 1)
        num_chunks = _log_uniform(rng, 1, min(affordable, settings.max_chunks))
        draws = Draws(chunk_length, num_chunks, local_filler, settings.early_cut, settings.late_cut)
        room = min(max(affordable // num_chunks, 1), settings.max_sequences)
        numbers = range(len(self._sources))
        chosen = []
        while room > 0:
            [number] = rng.choices(numbers, self._shares)
            sample = self._sources[number].draw(rng, draws)
            chosen.append((number, sample))
            room -= sample.room
        return [replace(_example(rng, sample, settings), source=number) for number, sample in chosen]


def check_room(stages: Sequence[DrawSettings], config: FocusConfig, window: int, local_length: int = 0) -> None:
    """Check that what is drawn, in its usual size, fits the base's window.

    Args:
        stages: From what the draws are made.
        config: The method's settings.
        window: Tokens the base can attend to at once.
        local_length: Tokens of a local context besides its filler, at most, as far as they are known.

    Raises:
        WindowError: It does not.
    """
    prompt_length, per_chunk = config.prompt_length(), config.candidates_per_chunk
    for stage in stages:
        row = _usual_row(max(stage.chunk_lengths), stage.local_filler, prompt_length) + per_chunk - 1
        local = stage.local_filler + local_length
        if row > window:
            raise WindowError(
                f"A chunk of {max(stage.chunk_lengths)} tokens with its prompt block takes about {row} positions; the "
                f"base's window has {window}. Set shorter `chunk_lengths` in `draws`."
            )
        affordable = stage.row_tokens // _usual_row(min(stage.chunk_lengths), 0, prompt_length)
        slots = max(min(affordable, stage.max_chunks), stage.virtual_chunks) * per_chunk
        if slots + local >= window:
            raise WindowError(
                f"{slots} candidates and a local context of {local} tokens and more take more positions than the "
                f"base's window of {window} has. Set fewer `max_chunks`, `virtual_chunks` or `local_filler` in "
                f"`draws`, or a lower `max_supervised` in `data`."
            )


def _usual_row(chunk_length: int, local_filler: int, prompt_length: int) -> int:
    """Return how many tokens a chunk and its prompt block have; the usual size of questions is known well enough."""
    return chunk_length + min(prompt_length, 40 + local_filler)


def _log_uniform(rng: random.Random, low: int, high: int) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _example(rng: random.Random, sample: Sample, settings: DrawSettings) -> TrainingExample:
    if settings.supervision == "last":
        # The published code supervises the token right after the sampled local window, and nothing else.
        local = sample.local[: sample.cut + 2]
        sample = replace(sample, local=local, weights=[1.0] * len(local))
    return _spread(rng, sample, settings)


def _spread(rng: random.Random, sample: Sample, settings: DrawSettings) -> TrainingExample:
    """Let the sample's chunks stand for more of them, at positions over a longer stretch."""
    num_chunks = len(sample.chunks)
    num_slots = num_chunks
    if settings.virtual_chunks > num_chunks and rng.random() < 0.6:
        num_slots = _log_uniform(rng, num_chunks, settings.virtual_chunks)
    unprotected = sum(not is_protected for is_protected in sample.protected)
    copies = [1.0] * num_chunks
    if unprotected:
        share = (num_slots - (num_chunks - unprotected)) / unprotected
        copies = [1.0 if is_protected else share for is_protected in sample.protected]
    slots = sorted(rng.sample(range(num_slots), num_chunks))
    return TrainingExample(
        chunks=sample.chunks,
        local=sample.local,
        cut=sample.cut,
        weights=sample.weights,
        copies=copies,
        slots=slots,
        num_slots=num_slots,
        candidate_refresh=rng.choice(settings.candidate_refreshes),
    )
