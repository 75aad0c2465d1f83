"""What users set for the choice of tokens: put together as transformers does, and refused where it would not hold."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from transformers import GenerationConfig
from transformers.generation.configuration_utils import GenerationMode

from focusllm.errors import ConfigurationError

_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)
_DEFAULT_NEW_TOKENS = 64
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

    What the given one leaves open is the base's, as for transformers; a setting of ``None`` is turned off.

    Raises:
        ConfigurationError: A name is unknown, or values are of another kind, out of range or contradict one another.
    """
    _check_kinds(given, settings)
    try:
        config, _ = base._prepare_generation_config(given)
        # Of a base, it is the length of its window or less.
        config.max_length = None if given is None else given.max_length
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
    if config.min_new_tokens is not None:
        # Zero, where nobody asked for more; transformers warns of having both.
        config.min_length = config.min_length or None
    mine = {} if given is None else given.to_dict()
    named = {*settings, *(name for name, value in mine.items() if value is not None)}
    if config.pad_token_id is None or "pad_token_id" not in named:
        config.pad_token_id = _padding_of(config, pad_token_id)
    _check_ranges(config, named)
    # The state is ours: there is no cache that transformers could make or cut.
    config.use_cache = False
    return config


def _padding_of(config: GenerationConfig, pad_token_id: int | None) -> int:
    """Return the token that pads what is shorter: as for transformers, one that ends answers if there is no other."""
    ends: Any = config.eos_token_id
    choices = (config.pad_token_id, pad_token_id, *(ends if isinstance(ends, list) else [ends]))
    # Some bases, such as the first Llamas, say that they have none by -1.
    return next((token for token in choices if token is not None and token >= 0), 0)


def _check_kinds(given: Any, settings: Mapping[str, Any]) -> None:
    """Refuse what transformers would stumble over while it puts a configuration together."""
    if given is not None and not isinstance(given, GenerationConfig):
        raise ConfigurationError(
            f"`generation_config` must be a transformers.GenerationConfig; got {type(given).__name__}. "
            f"Settings can be given by their names, too, such as `max_new_tokens=32`."
        )
    tokens = settings.get("max_new_tokens")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, Integral)):
        raise ConfigurationError(f"`max_new_tokens` must be a whole number of tokens; got {tokens!r}.")


def _check_ranges(config: GenerationConfig, named: set[str]) -> None:
    """Refuse what transformers would pass over, or stumble over later; ``named`` are settings that come of the user."""
    try:
        # What only a base says, such as a temperature where nothing is drawn, is passed over.
        config.validate(strict=True, user_set_attributes={"do_sample", "num_beams", *named})
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if config.get_generation_mode() not in _MODES:
        raise ConfigurationError(
            f"Decoding by {config.get_generation_mode().value} is not supported; use greedy decoding, "
            f"sampling or beams (`do_sample`, `num_beams`)."
        )
    if config.do_sample and config.temperature is not None:
        if not isinstance(config.temperature, int | float) or not config.temperature > 0:
            raise ConfigurationError(
                f"`temperature` must be above 0; got {config.temperature}. For the likeliest token every time, do not "
                f"sample."
            )
        # transformers takes no whole numbers for one.
        config.temperature = float(config.temperature)
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


def check_seed(seed: Any) -> None:
    """Check that draws can be seeded with what was given.

    Raises:
        ConfigurationError: They cannot.
    """
    if seed is not None and not (isinstance(seed, Integral) and -(2**63) <= int(seed) < 2**64):
        raise ConfigurationError(f"`seed` must be a whole number of at most 64 bits; got {seed!r}.")


def extras_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Take what is not a field of a generation configuration, but given along with those, out of settings."""
    given = {name: settings.pop(name, None) for name in _EXTRAS}
    return {name: value for name, value in given.items() if value is not None}
