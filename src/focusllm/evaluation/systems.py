"""What is compared: anything that continues a long sequence of tokens."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from focusllm.chunking import SplitSequence, block
from focusllm.condensing.bases import pad_token_id_of
from focusllm.config import FocusConfig
from focusllm.decoding.engine import FocusEngine
from focusllm.decoding.generate import FocusGenerator, decode
from focusllm.decoding.settings import extras_of, generation_config_for
from focusllm.evaluation.baselines import StreamingSystem, StretchedSystem, TruncatedSystem
from focusllm.evaluation.chunk_baselines import BestChunkSystem, RetrievalSystem
from focusllm.evaluation.ending import OWN_ENDS, Ending
from focusllm.evaluation.readings import Reading
from focusllm.model import FocusModel


@runtime_checkable
class System(Protocol):
    """Something that reads tokens and writes some."""

    @property
    def name(self) -> str:
        """The name results carry."""
        ...

    @property
    def config(self) -> FocusConfig:
        """The settings results carry."""
        ...

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Return the likeliest new tokens behind a prompt of any length, up to the limit or an end."""
        ...


# Ways of decoding, from the paper's to the cheapest.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"candidate_refresh": 1, "focus_share": None, "local_refresh": "recompute"},
    "cached": {"candidate_refresh": 1, "focus_share": None, "local_refresh": "cached"},
    "refresh-16": {"candidate_refresh": 16, "focus_share": None, "local_refresh": "cached"},
    "focused": {"candidate_refresh": 16, "focus_share": 0.9, "local_refresh": "cached"},
    "once": {"candidate_refresh": 0, "focus_share": None, "local_refresh": "cached"},
}


class FocusSystem:
    """FocusLLM.

    Args:
        model: The model.
        settings: How it decodes; as it is configured, by default.
        reading: The chunks read so far, shared with systems that differ in settings alone.
        name: What results call it; by default they say how it decodes.
    """

    def __init__(
        self,
        model: FocusModel,
        settings: Mapping[str, Any] | None = None,
        reading: Reading | None = None,
        name: str | None = None,
    ) -> None:
        self._model = model
        self._name = name
        self._config = model.config.changed(settings or {})
        self._reading = reading or Reading()

    @property
    def name(self) -> str:
        """The name results carry."""
        if self._name is not None:
            return self._name
        focus = "" if self._config.focus_share is None else f", {self._config.focus_share} in focus"
        return (
            f"focusllm ({self._config.local_refresh} local, candidates every {self._config.candidate_refresh}{focus})"
        )

    @property
    def config(self) -> FocusConfig:
        """The settings it decodes with."""
        return self._config

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily, and leave the model with the settings it had."""
        engine: FocusEngine = self._model._engine
        with engine.turns:
            before, engine.config = engine.config, self._config
            try:
                return self._decoded(engine, prompt_ids, max_new_tokens, ending)
            finally:
                engine.config = before

    def _decoded(
        self, engine: FocusEngine, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending
    ) -> list[int]:
        padding = pad_token_id_of(self._model.base, self._model.tokenizer)
        chosen = {"max_new_tokens": max_new_tokens, "do_sample": False, **ending.settings(self._model.base)}
        extras = extras_of(chosen)
        decoding = generation_config_for(self._model.base, None, chosen, padding)
        [sequence] = engine.split([prompt_ids], max_new_tokens + 1)
        if not sequence.chunks:
            # What is kept whole begins with BOS as chunks' local contexts do, and other systems' prompts.
            sequence = SplitSequence((), block(prompt_ids, engine.local_bos))
        chunks = self._reading.of(engine, sequence) if sequence.chunks else None
        generator = FocusGenerator(engine, [sequence], chunks)
        output = decode(generator, [prompt_ids], decoding, tokenizer=self._model.tokenizer, **extras)
        return output.sequences[0].tolist()


SYSTEMS: Mapping[str, Callable[[FocusModel], System]] = {
    "focusllm": FocusSystem,
    "base-end": TruncatedSystem,
    "base-start": partial(TruncatedSystem, kept="start"),
    "base-ends": partial(TruncatedSystem, kept="ends"),
    "base-stretched": StretchedSystem,
    "base-ntk": partial(StretchedSystem, scaling="dynamic"),
    "base-yarn": partial(StretchedSystem, scaling="yarn"),
    "streaming": StreamingSystem,
    "retrieval": RetrievalSystem,
    "best-chunk": BestChunkSystem,
}
