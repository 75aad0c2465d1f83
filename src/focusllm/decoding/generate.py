"""Decoding with transformers' own ``generate``: its sampling, processors and stop conditions over our steps."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedTokenizerBase
from transformers.generation.utils import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput
from transformers.modeling_outputs import CausalLMOutputWithPast

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.limits import check_room
from focusllm.decoding.modes import without_gradients
from focusllm.decoding.padding import unpadded_rows
from focusllm.decoding.state import FocusState
from focusllm.errors import ConfigurationError, FocusError

# What transformers returns, with its new tokens only.
GenerationOutput = GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput


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
        self.config: Any = copy(engine.base.config)
        # What fits the window is checked here; sequences beyond it are no reason for transformers to warn.
        self.config.max_position_embeddings = sys.maxsize
        # What is asked for comes with every call, whole.
        self.generation_config = GenerationConfig()
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

    def _prepare_generation_config(self, generation_config: Any, **others: Any) -> tuple[Any, dict[str, Any]]:
        """Take a configuration as it was made: filled in again, what a user has turned off would be on."""
        return generation_config, others

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Hand on the tokens so far; which of them are padding is known from the first."""
        return {"input_ids": input_ids}

    @without_gradients
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
    masks = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ids, mask = (torch.tensor(some, device=generator.device) for some in (rows, masks))
    config.return_dict_in_generate = True
    model: Any = generator
    with generator.turns, _seeded(generator.agreed_seed(seed, config), generator.device):
        try:
            output = model.generate(ids, attention_mask=mask, generation_config=config, tokenizer=tokenizer, **extras)
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
