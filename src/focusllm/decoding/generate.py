"""The generate loop: prefill, choose, step, until a stop condition holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import StoppingCriteriaList, StopStringCriteria

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.limits import check_room
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError


@runtime_checkable
class Streamer(Protocol):
    """What transformers calls a streamer: it is handed tokens as they come."""

    def put(self, value: Tensor) -> None:
        """Take tokens."""
        ...

    def end(self) -> None:
        """Take note that there are no more."""
        ...


@dataclass(frozen=True)
class GenerationSettings:
    """How tokens are chosen and when to stop; names and meanings are those of ``transformers.GenerationConfig``.

    Attributes:
        max_new_tokens: Most tokens decoded.
        do_sample: Draw from the distribution instead of taking the likeliest token.
        temperature, top_k, top_p, min_p: Shape the distribution when sampling; ``None`` leaves it as it is.
        eos_token_ids: Tokens that end a sequence.
        stop_strings: Texts that end a sequence; a tokenizer is needed for them.
        seed: Seed of the draws; ``None`` takes PyTorch's global generator.
    """

    max_new_tokens: int = 64
    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    eos_token_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigurationError(f"`max_new_tokens` must be at least 1; got {self.max_new_tokens}.")
        shaping = {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p")}
        given = {name: value for name, value in shaping.items() if value is not None}
        if given and not self.do_sample:
            raise ConfigurationError(f"{given} only matter when sampling. Set `do_sample=True`, or leave them out.")

    def processors(self) -> LogitsProcessorList:
        """Return what shapes the distribution, in the order transformers applies it."""
        processors = LogitsProcessorList()
        try:
            if self.temperature is not None:
                processors.append(TemperatureLogitsWarper(self.temperature))
            if self.top_k is not None:
                processors.append(TopKLogitsWarper(self.top_k))
            if self.top_p is not None:
                processors.append(TopPLogitsWarper(self.top_p))
            if self.min_p is not None:
                processors.append(MinPLogitsWarper(self.min_p))
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        return processors


def settings_for(base: Any, max_new_tokens: int, given: Mapping[str, Any]) -> GenerationSettings:
    """Return settings with the base's own end-of-sequence tokens, where none are given.

    Raises:
        ConfigurationError: A name is unknown, or a value out of range.
    """
    eos = getattr(base.generation_config, "eos_token_id", None)
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    try:
        settings = GenerationSettings(max_new_tokens=max_new_tokens, eos_token_ids=eos_ids)
        return replace(settings, **given)
    except TypeError as error:
        accepted = ", ".join(GenerationSettings.__dataclass_fields__)
        raise ConfigurationError(f"{error}. Accepted are {accepted}.") from error


class _Stops:
    """Says which sequences have ended."""

    def __init__(self, settings: GenerationSettings, tokenizer: PreTrainedTokenizerBase | None, device: Any) -> None:
        self._eos = torch.tensor(settings.eos_token_ids, dtype=torch.long, device=device)
        self._texts = StoppingCriteriaList()
        if settings.stop_strings:
            if tokenizer is None:
                raise ConfigurationError("`stop_strings` need a tokenizer: give one to FocusModel.")
            self._texts.append(StopStringCriteria(tokenizer, list(settings.stop_strings)))

    def __call__(self, new_ids: Int[Tensor, "batch new"], logits: Tensor) -> Tensor:
        ended = torch.isin(new_ids[:, -1], self._eos)
        call: Any = self._texts
        return ended | call(new_ids, logits) if self._texts else ended


@torch.no_grad()
def generate(
    engine: FocusEngine,
    sequences: Sequence[SplitSequence],
    settings: GenerationSettings,
    tokenizer: PreTrainedTokenizerBase | None = None,
    streamer: Streamer | None = None,
    progress: Progress | None = None,
    chunks: ChunkCache | None = None,
    observe: Callable[[FocusState], None] | None = None,
) -> list[list[int]]:
    """Decode new tokens behind every sequence of a batch.

    Args:
        engine: What computes.
        sequences: The batch, divided.
        settings: How tokens are chosen and when to stop.
        tokenizer: Needed for stop strings.
        streamer: Handed each token as it comes.
        progress: Called with the chunk tokens read so far and those to be read in all.
        chunks: The chunks of the batch, where they have been read before.
        observe: Called with every state a token is chosen from; attention to candidates is recorded then.

    Returns:
        The new tokens of each sequence, with the token that ended it.

    Raises:
        WindowError: Sequences and new tokens would not fit the window; nothing has been run then.
        ConfigurationError: A setting is out of range.
    """
    for sequence in sequences:
        check_room(sequence, engine.config, engine.window, settings.max_new_tokens)
    processors: Any = settings.processors()
    stops = _Stops(settings, tokenizer, engine.device)
    generator = None if settings.seed is None else torch.Generator(engine.device).manual_seed(settings.seed)
    if chunks is None:
        state = engine.prefill(sequences, progress)
    else:
        state = engine.ask(sequences, chunks, records=observe is not None)
    new_ids = torch.empty(len(sequences), 0, dtype=torch.long, device=engine.device)
    lengths = [0] * len(sequences)
    while True:
        if observe is not None:
            observe(state)
        chosen = _choose(processors(new_ids, state.logits.float()), settings.do_sample, generator)
        new_ids = torch.cat((new_ids, chosen.unsqueeze(1)), dim=1)
        if streamer is not None:
            streamer.put(chosen.cpu())
        ended = stops(new_ids, state.logits).tolist()
        lengths = [
            new_ids.shape[1] if length == 0 and has_ended else length
            for length, has_ended in zip(lengths, ended, strict=True)
        ]
        if all(lengths) or new_ids.shape[1] == settings.max_new_tokens:
            break
        state = engine.step(state, chosen)
    if streamer is not None:
        streamer.end()
    return [row[: length or None] for row, length in zip(new_ids.tolist(), lengths, strict=True)]


def _choose(
    scores: Float[Tensor, "batch vocab"], do_sample: bool, generator: torch.Generator | None
) -> Int[Tensor, " batch"]:
    if not do_sample:
        return scores.argmax(dim=-1)
    return torch.multinomial(scores.softmax(dim=-1), num_samples=1, generator=generator).squeeze(1)
