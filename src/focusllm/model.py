"""FocusModel: a base model, its candidate projections and its tokenizer, as one thing to hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from focusllm.adapter_methods import AdapterMethods
from focusllm.answering import Answerer
from focusllm.bundled.model import BUNDLED, resolve_base
from focusllm.chunking import check_vocabulary
from focusllm.condensing.adapter_files import adapter_folder, base_of, load_adapter, read_adapter_record
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.bases import bos_token_id_of, check_left_out, check_tokenizer, load_base, pad_token_id_of
from focusllm.config import FocusConfig
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.generate import GenerationOutput, continued
from focusllm.decoding.padding import unpadded_rows
from focusllm.decoding.settings import check_seed, extras_of, generation_config_for
from focusllm.decoding.state import FocusState
from focusllm.document_methods import DocumentMethods
from focusllm.errors import ConfigurationError
from focusllm.reading import DocumentReader


class FocusModel(DocumentMethods, AdapterMethods, nn.Module):
    """A decoder-only model that reads far beyond its window. Source: arXiv 2408.11745.

    :meth:`from_pretrained` loads one with its adapter. :meth:`index` and :meth:`ask` take documents and questions;
    :meth:`generate`, :meth:`prefill`, :meth:`step` and the model itself, called, take token ids of any length.
    ``model.base`` is the base, ``model.adapter`` its candidate projections.

    Args:
        base: A loaded transformers causal language model of a supported family. Its attention projections are
            swapped in place; :meth:`detach` undoes that.
        config: The method's settings, or those that differ from the paper's, by name.
        tokenizer: Needed for text, but not for token ids.
        max_parallel_chunks: How many chunks go through the base at once; ``None``: as many as memory allows.
        process_group: Processes (torch.distributed) that make the same calls; each reads its share of the chunks.

    Raises:
        UnsupportedModelError: The base is no causal language model, or its architecture is not supported.
        ConfigurationError: It carries candidate projections already, is offloaded, or spread over several devices; or
            a setting is unknown or out of range, or the tokenizer is none of transformers'.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        config: FocusConfig | Mapping[str, Any] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        max_parallel_chunks: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        check_tokenizer(tokenizer)
        self.base, self._tokenizer = base, tokenizer
        settings = _settings(config, FocusConfig())
        self.adapter = CandidateAdapter(base, settings)
        try:
            bos = bos_token_id_of(base, tokenizer)
            self._engine = FocusEngine(base, self.adapter, settings, bos, max_parallel_chunks, process_group)
        except BaseException:
            # Nobody else could take out again what stands in a base that has no model.
            self.adapter.detach()
            raise
        self._reader = DocumentReader(self._engine, tokenizer)
        self._answerer = Answerer(self._reader)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path | PreTrainedModel | None = None,
        adapter: str | Path | None = None,
        *,
        config: FocusConfig | Mapping[str, Any] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        dtype: torch.dtype | str = "auto",
        device: torch.device | str | None = None,
        quantization_config: Any = None,
        attn_implementation: str | None = None,
        max_parallel_chunks: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> "FocusModel":
        """Load a base and an adapter; without arguments, those that ship inside the package.

        Args:
            base: Path, or name on the Hugging Face Hub, with ``@revision`` (``"owner/name@v2"``) for a branch, tag or
                commit; ``"bundled"`` is the base inside the package; ``None``: the one the adapter was trained on.
                Downloads follow ``HF_TOKEN``, ``HF_HOME`` and ``HF_HUB_OFFLINE``. One that is loaded already is taken
                as it is, and ``dtype``, ``device`` and the like are left out.
            adapter: Folder of an adapter, or its name on the Hub, likewise, or ``"bundled"``; without one, candidates
                are what the base itself computes at the last token, from where training starts.
            config: Settings that differ from the adapter's own, by name, or all settings.
            tokenizer: In place of the one that lies beside the base; of a loaded base the only one.
            dtype: As for transformers; ``"auto"`` takes the checkpoint's, or float32 on a CPU that has no arithmetic
                for it, if there is room, and says so.
            device: Where the model goes; by default a GPU, if there is one.
            quantization_config: As for transformers: how to quantize the base.
            attn_implementation: As for transformers: how the base computes attention, such as ``"eager"``; by default
                as transformers chooses.
            max_parallel_chunks: See the class.
            process_group: See the class.

        Raises:
            UnsupportedModelError: The base's architecture is not supported.
            AdapterError: The adapter is incomplete, damaged, or was trained on another base.
            ConfigurationError: A setting is unknown or out of range, or says how to load a base that is loaded; or
                there is no such precision, device or implementation of attention.
            InputError: There is no base by that name, or it cannot be read.
            MissingDependencyError: The base needs a library that is not installed.
        """
        if base is None:
            adapter = adapter or BUNDLED
        folder = None if adapter is None else adapter_folder(adapter)
        record = None if folder is None else read_adapter_record(folder)
        settings = _settings(config, FocusConfig() if record is None else record.config)
        if isinstance(base, nn.Module):
            check_left_out(
                dtype=None if dtype == "auto" else dtype, device=device, quantization_config=quantization_config,
                attn_implementation=attn_implementation,
            )  # fmt: skip
            loaded = base
        else:
            name = base_of(record) if base is None and record is not None else str(base)
            loaded, own = load_base(resolve_base(name, Path()), dtype, device, quantization_config, attn_implementation)
            tokenizer = own if tokenizer is None else tokenizer
        model = cls(loaded, settings, tokenizer, max_parallel_chunks, process_group)
        if folder is not None:
            try:
                load_adapter(folder, model.adapter, loaded)
            except BaseException:
                # A base that was loaded before is somebody's.
                model.detach()
                raise
        return model.eval()

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The base's tokenizer; ``None`` if the model reads token ids only."""
        return self._tokenizer

    @property
    def config(self) -> FocusConfig:
        """The settings in force; :meth:`configure` changes them."""
        return self._engine.config

    def configure(self, **changes: Any) -> "FocusModel":
        """Change settings that do not alter the adapter, such as ``chunk_length`` or ``local_refresh``.

        Args:
            **changes: Fields of :class:`~focusllm.FocusConfig`, by name; the others stay as they are.

        Returns:
            The model itself.

        Raises:
            ConfigurationError: A name is unknown, a value out of range, or the change would need another adapter.
            InputError: A token of `static_prompt` is not in the base's vocabulary.
        """
        settings = self.config.changed(changes)
        for name in ("rank", "candidate_projections", "candidates_per_chunk"):
            if getattr(settings, name) != getattr(self.config, name):
                raise ConfigurationError(f"`{name}` belongs to the adapter; make or load a model with another one.")
        check_vocabulary(settings.static_prompt, self._engine.vocabulary)
        self._engine.config = settings
        return self

    @property
    def window(self) -> int:
        """Tokens the base can attend to at once."""
        return self._engine.window

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._engine.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the base's weights, and of keys and values."""
        return self.base.dtype

    def extra_repr(self) -> str:
        """Say what a printed model says of it, besides its modules."""
        return f"window={self.window}, config={self.config}"

    def forward(
        self, input_ids: Int[Tensor, "batch sequence"], attention_mask: Tensor | None = None
    ) -> CausalLMOutputWithPast:
        """Return the scores of the next token of every sequence, (batch, 1, vocab), as ``.logits``.

        They come without gradients: adapters are trained by :func:`focusllm.training.run.train`. See :meth:`prefill`.
        """
        logits = self.prefill(input_ids, attention_mask).logits.unsqueeze(1)
        return CausalLMOutputWithPast(logits=logits)  # type: ignore[arg-type]

    def prefill(self, input_ids: Int[Tensor, "batch sequence"], attention_mask: Tensor | None = None) -> FocusState:
        """Read a batch of sequences; padding, on either side, is marked by zeros in the mask.

        If a sequence exceeds the base's window, its last ``local_length`` tokens are the local context.

        Args:
            input_ids: The sequences, of any length.
            attention_mask: Of the same shape; zeros mark padding. ``None``: nothing is padding.

        Returns:
            The state behind the last token of each sequence, with ``logits`` of shape (batch, vocab).

        Raises:
            InputError: The ids are not a batch of tokens that the base knows, or a sequence is empty.
            WindowError: Candidates and local context, or a chunk with its prompt, would exceed the base's window.
        """
        rows = unpadded_rows(input_ids, attention_mask, self._engine.vocabulary)
        return self._engine.prefill(self._engine.split(rows))

    def step(self, state: FocusState, token_ids: Tensor) -> FocusState:
        """Append one token to every sequence and return the state after it; the old state must not be used again.

        Args:
            state: What :meth:`prefill` or the step before returned.
            token_ids: The new tokens, of shape (batch,).

        Raises:
            StateError: The state was used before, or there is not one token for each sequence.
            InputError: A token is beyond the base's vocabulary.
            WindowError: A chunk or a local context has outgrown the window.
        """
        state.check_tokens(token_ids, self._engine.vocabulary)
        return self._engine.step(state, token_ids)

    @overload
    def generate(
        self,
        input_ids: Int[Tensor, "batch sequence"],
        attention_mask: Tensor | None = None,
        *,
        return_dict_in_generate: Literal[True],
        **settings: Any,
    ) -> GenerationOutput: ...

    @overload
    def generate(
        self,
        input_ids: Int[Tensor, "batch sequence"],
        attention_mask: Tensor | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Int[Tensor, "outputs longer"]: ...

    def generate(
        self,
        input_ids: Int[Tensor, "batch sequence"],
        attention_mask: Tensor | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Int[Tensor, "outputs longer"] | GenerationOutput:
        """Decode new tokens after every sequence, as transformers' ``generate`` does.

        Args:
            input_ids: The sequences, of any length.
            attention_mask: Zeros mark padding.
            generation_config: Used in place of the base's own.
            seed: Seed of the sampling; ``None`` uses PyTorch's global generator.
            progress: Called with the number of chunk tokens read so far, and of those to be read in all.
            **settings: Fields of ``GenerationConfig``, ``streamer``, ``logits_processor``, ``stopping_criteria``.

        Returns:
            The sequences followed by the new tokens, padded on the right; with ``return_dict_in_generate``,
            transformers' output object.

        Raises:
            ConfigurationError: A setting is unknown, out of range or not supported.
            InputError: The ids are not a batch of tokens that the base knows.
            WindowError: Sequences and new tokens would not fit the base's window.
        """
        check_seed(seed)
        decoding = {"tokenizer": self.tokenizer, "seed": seed, "progress": progress, **extras_of(settings)}
        padding = pad_token_id_of(self.base, self.tokenizer)
        config = generation_config_for(self.base, generation_config, settings, padding)
        return continued(self._engine, input_ids, attention_mask, config, **decoding)


def _settings(config: FocusConfig | Mapping[str, Any] | None, own: FocusConfig) -> FocusConfig:
    """Return all settings: those given, or others by default with those changed that are given by name."""
    return config if isinstance(config, FocusConfig) else own.changed({} if config is None else config)
