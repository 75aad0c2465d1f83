"""Decoding with transformers' own ``generate``: its sampling, processors and stop conditions over our steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedTokenizerBase
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput
from transformers.modeling_outputs import CausalLMOutputWithPast

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.limits import check_room
from focusllm.decoding.padding import unpadded_rows
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError, FocusError

_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)
_DEFAULT_NEW_TOKENS = 64
# What transformers returns, with its new tokens only.
GenerationOutput = GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput
_EXTRAS = ("streamer", "logits_processor", "stopping_criteria")
# What would need of a model what is not there to be had, by its values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "guidance_scale": (None, 1), "token_healing": (None, False), "output_attentions": (None, False),
    "output_hidden_states": (None, False),
}  # fmt: skip


def generation_config_for(
    base: Any, given: GenerationConfig | None, settings: Mapping[str, Any], pad_token_id: int | None
) -> GenerationConfig:
    """Return the base's own generation configuration, or the given one, with some settings replaced.

    Raises:
        ConfigurationError: A name is unknown, or values are out of range or contradict one another.
    """
    config = deepcopy(base.generation_config if given is None else given)
    if given is None:
        # Of a base, it is the length of its window or less.
        config.max_length = None
    try:
        unknown = config.update(**settings)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    stops = config.stop_strings
    config.stop_strings = [stops] if isinstance(stops, str) and stops else list(stops or ()) or None
    if unknown:
        raise ConfigurationError(
            f"{', '.join(map(repr, unknown))} is not a setting of generation. Accepted are the fields of "
            f"transformers.GenerationConfig, {', '.join(_EXTRAS)} and seed."
        )
    if config.max_new_tokens is None:
        config.max_new_tokens = _DEFAULT_NEW_TOKENS
    ends: Any = config.eos_token_id
    # As for transformers, what ends an answer pads it where there is nothing else.
    padding = (config.pad_token_id, pad_token_id, *(ends if isinstance(ends, list) else [ends]))
    config.pad_token_id = next((token for token in padding if token is not None), 0)
    try:
        config.validate(strict=True, user_set_attributes=set(settings))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    _check_ranges(config)
    if config.get_generation_mode() not in _MODES:
        raise ConfigurationError(
            f"Decoding by {config.get_generation_mode().value} is not supported; use greedy decoding, "
            f"sampling or beams (`do_sample`, `num_beams`)."
        )
    # The state is ours: there is no cache that transformers could make or cut.
    config.use_cache = False
    return config


def _check_ranges(config: GenerationConfig) -> None:
    """Refuse what transformers would pass over, or stumble over later."""
    if config.top_p is not None and not 0 < config.top_p <= 1:
        raise ConfigurationError(f"`top_p` must be above 0 and at most 1; got {config.top_p}.")
    if config.num_beams is not None and config.num_beams < 1:
        raise ConfigurationError(f"`num_beams` must be at least 1; got {config.num_beams}.")
    if config.max_length is not None:
        raise ConfigurationError(
            f"`max_length` ({config.max_length}) would count the prompt, too, however long: give `max_new_tokens`."
        )
    for name, off in _UNSUPPORTED.items():
        if (value := getattr(config, name, None)) not in off:
            raise ConfigurationError(f"`{name}` is not supported; got {value!r}. Leave it out.")


def extras_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Take what is not a field of a generation configuration, but given along with those, out of settings."""
    given = {name: settings.pop(name, None) for name in _EXTRAS}
    return {name: value for name, value in given.items() if value is not None}


class FocusGenerator(GenerationMixin):
    """Stands where transformers' ``generate`` expects a model: a prefill at the first call, steps after that.

    Args:
        engine: What computes.
        sequences: The batch, divided.
        chunks: The chunks of the batch, where they have been read before.
        progress: Called with the chunk tokens read so far and those to be read in all.
        observe: Called with every state a token is chosen from; attention to candidates is recorded then.
    """

    main_input_name = "input_ids"
    # Tells transformers not to run the same tokens again, as assisted decoding would.
    _is_stateful = True

    def __init__(
        self,
        engine: FocusEngine,
        sequences: Sequence[SplitSequence],
        chunks: ChunkCache | None = None,
        progress: Progress | None = None,
        observe: Callable[[FocusState], None] | None = None,
    ) -> None:
        self.config = engine.base.config
        self.generation_config = engine.base.generation_config
        self.device = engine.device
        self.turns = engine.turns
        self._engine, self._sequences, self._chunks = engine, sequences, chunks
        self._progress, self._observe = progress, observe
        self.state: FocusState | None = None
        self._seen = torch.empty(0, 0)

    @classmethod
    def can_generate(cls) -> bool:
        """Answer transformers' question."""
        return True

    def get_experts_implementation(self) -> dict[str, str]:
        """Answer transformers' question: what the base does inside its layers is its own business."""
        return {}

    def check_room(self, new_tokens: int) -> None:
        """Check that every sequence and so many new tokens fit the window, before anything runs.

        Raises:
            WindowError: They do not.
        """
        for sequence in self._sequences:
            check_room(sequence, self._engine.config, self._engine.window, new_tokens)

    def agreed_seed(self, seed: int | None, config: GenerationConfig) -> int | None:
        """Return the seed of the draws, the same in all processes that share the chunks."""
        return self._engine.ranks.agreed_seed(seed) if config.do_sample else seed

    def prepare_inputs_for_generation(self, input_ids: Tensor, **_: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Hand on the tokens so far."""
        return {"input_ids": input_ids}

    def forward(self, input_ids: Int[Tensor, "rows so_far"], return_dict: bool = True) -> CausalLMOutputWithPast:
        """Return the scores of the next tokens; the tokens so far grow by one from call to call.

        Rows may change places between calls, as beams do.
        """
        if self.state is None:
            self.state = self._first_state(input_ids.shape[0])
        else:
            # One row has no other to change places with; to compare it, a GPU would have to be waited for.
            if len(input_ids) > 1 and not torch.equal(self._seen, input_ids[:, :-1]):
                self.state.follow(self._parents(input_ids[:, :-1].tolist()))
            self.state = self._engine.step(self.state, input_ids[:, -1])
        self._seen = input_ids
        if self._observe is not None:
            self._observe(self.state)
        return CausalLMOutputWithPast(logits=self.state.logits.unsqueeze(1))  # type: ignore[arg-type]

    __call__ = forward

    def _parents(self, rows: list[list[int]]) -> list[int]:
        """Find, for each row of tokens, the row of the call before that it goes on from, if it can the same one."""
        seen = self._seen.tolist()
        repeats = len(rows) // len(self._sequences)
        return [
            index if seen[index] == row else seen.index(row, index // repeats * repeats)
            for index, row in enumerate(rows)
        ]

    def _first_state(self, num_rows: int) -> FocusState:
        # Where several outputs a sequence or beams are asked for, transformers repeats each row so often.
        repeats = num_rows // len(self._sequences)
        sequences = [one for one in self._sequences for _ in range(repeats)]
        if self._chunks is None:
            return self._engine.prefill(sequences, self._progress)
        chunks = self._chunks if repeats == 1 else self._chunks.repeated(repeats)
        return self._engine.ask(sequences, chunks, records=self._observe is not None)


def decode(
    generator: FocusGenerator,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int | None = None,
    **extras: Any,
) -> GenerationOutput:
    """Decode new tokens behind every sequence of a batch.

    Args:
        generator: The sequences and what computes them.
        prompts: What streamers, processors and stop conditions see as each sequence's prompt.
        config: As :func:`generation_config_for` returns it.
        tokenizer: Needed for stop strings.
        seed: Seed of the draws; ``None`` takes PyTorch's global generator.
        **extras: ``streamer``, ``logits_processor`` and ``stopping_criteria``, as for transformers.

    Returns:
        transformers' output; its ``sequences`` hold the new tokens only, padded on the right.

    Raises:
        WindowError: Sequences and new tokens would not fit the window; nothing has been run then.
        ConfigurationError: A setting is out of range.
    """
    generator.check_room(config.max_new_tokens)
    width = max(map(len, prompts))
    rows = [[config.pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    ids = torch.tensor(rows, device=generator.device)
    config.return_dict_in_generate = True
    model: Any = generator
    with generator.turns, _seeded(generator.agreed_seed(seed, config), generator.device):
        try:
            output = model.generate(ids, generation_config=config, tokenizer=tokenizer, **extras)
        except ValueError as error:
            # Settings are checked by what they make, before the first pass; our own errors say enough.
            if isinstance(error, FocusError) or generator.state is not None:
                raise
            raise ConfigurationError(str(error)) from error
    output.sequences = output.sequences[:, width:]
    return output


def continued(
    engine: FocusEngine,
    input_ids: Int[Tensor, "batch sequence"],
    attention_mask: Tensor | None,
    config: GenerationConfig,
    progress: Progress | None = None,
    **decoding: Any,
) -> Int[Tensor, "outputs longer"] | GenerationOutput:
    """Decode new tokens behind sequences; see :meth:`FocusModel.generate`.

    Args:
        engine: What computes.
        input_ids: The sequences.
        attention_mask: Zeros mark padding.
        config: As :func:`generation_config_for` returns it.
        progress: Called with the chunk tokens read so far and those to be read in all.
        **decoding: Handed on to :func:`decode`.
    """
    returns_object = config.return_dict_in_generate
    rows = unpadded_rows(input_ids, attention_mask, engine.vocabulary)
    generator = FocusGenerator(engine, engine.split(rows, config.max_new_tokens), progress=progress)
    output: Any = decode(generator, rows, config, **decoding)
    repeated = input_ids.repeat_interleave(output.sequences.shape[0] // input_ids.shape[0], dim=0)
    output.sequences = torch.cat((repeated, output.sequences.to(repeated)), dim=1)
    return output if returns_object else output.sequences


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw from a seed within the ``with`` block, and leave the global generators as they were."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
