"""Requests, as clients of OpenAI's API send them. Source: OpenAI's API reference; documents and evidence: ours."""

import re
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from focusllm.serving.refusal import RefusalError

# Letters, digits and underscores of any script, dots and hyphens within: nothing that leads out of a folder or an URL.
_ID = re.compile(r"\w[\w.-]{0,127}")
# What clients send that changes no answer.
_WITHOUT_EFFECT = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user",
}  # fmt: skip
# What would change answers and is not there to be had, by its values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "best_of": (1,), "echo": (False,), "frequency_penalty": (0, 0.0), "function_call": ("none", "auto"),
    "functions": ([],), "logit_bias": ({},), "logprobs": (False,), "modalities": (["text"],), "n": (1,),
    "presence_penalty": (0, 0.0), "response_format": ({"type": "text"},), "suffix": ("",),
    "tool_choice": ("none", "auto"), "tools": ([],), "top_logprobs": (0,),
}  # fmt: skip
# Below it, scores that are divided by a temperature may no longer be numbers; the likeliest token is as likely as 1.
_LEAST_TEMPERATURE = 1e-5
# Of unknown fields, so many are named at most.
_NUM_NAMED = 10


def is_id(text: str) -> bool:
    """Say whether a text can be the id of a document."""
    return _ID.fullmatch(text) is not None


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("must be 1 to 128 letters, digits, '_', '.' and '-', and start with a letter, a digit or '_'")
    return text


def _one_text(content: Any) -> Any:
    """Put the parts of a message together, if all of them are text."""
    is_text = isinstance(content, list) and all(
        isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text" for part in content
    )
    return "\n".join(map(str, (part["text"] for part in content))) if is_text else content


def _one_prompt(prompt: Any) -> Any:
    """Take a prompt out of a list of one, in which some clients send it."""
    one = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list) else prompt
    if isinstance(one, str) or (isinstance(one, list) and one and all(type(token) is int for token in one)):
        return one
    raise ValueError("must be a text or one list of token ids")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_DocumentId = Annotated[str, AfterValidator(_checked_id)]
_Stop = Annotated[str, Field(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Message(_Body):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_one_text)]

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        # Answers that are sent back hold what they do not have, such as calls of tools.
        return _given(values) if isinstance(values, dict) else values


class StreamOptions(_Body):
    """What a stream holds beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationRequest(_Body):
    """What all requests for text have in common; see OpenAI's reference.

    Attributes:
        documents: Ids of the documents it is about.
        evidence: Whether the answer comes with the chunks that it rests on.
    """

    model: str | None = None
    documents: Annotated[list[_DocumentId], Field(min_length=1, fail_fast=True)] | None = None
    evidence: bool = False
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[_Stop], Field(max_length=4, fail_fast=True), BeforeValidator(_listed)] = []

    @model_validator(mode="after")
    def _check_evidence(self) -> "GenerationRequest":
        if self.evidence and self.documents is None:
            raise ValueError("`evidence` is what an answer about documents rests on: name some in `documents`")
        return self

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of the answer; ``None``: not said."""
        return self.max_tokens

    def sampling(self) -> dict[str, Any]:
        """Return how tokens are chosen, as :meth:`FocusModel.generate` takes it; what is left open is the model's."""
        if self.temperature is not None and self.temperature < _LEAST_TEMPERATURE:
            return {"do_sample": False}
        given = _given({"temperature": self.temperature, "top_p": self.top_p})
        return {"do_sample": True, **given} if given else {}


class ChatRequest(GenerationRequest):
    """A conversation that is to be gone on with."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> "ChatRequest":
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("`max_tokens` and `max_completion_tokens` are the same limit: give one of them")
        return self

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of the answer; ``None``: not said."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(GenerationRequest):
    """A text, or its token ids, that is to be gone on with; or a question about documents."""

    prompt: Annotated[Any, AfterValidator(_one_prompt)]


class DocumentRequest(_Body):
    """A text that is to be read once and asked often."""

    text: str
    id: _DocumentId | None = None


Request = TypeVar("Request", bound=_Body)


def read_request(kind: type[Request], body: bytes) -> Request:
    """Read the body of a request.

    Raises:
        RefusalError: It is no JSON object of the right fields and values.
    """
    try:
        # NaN and Infinity are no JSON, halves of characters no Unicode, and depth has a limit.
        fields = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RefusalError(400, f"The body must be JSON; it is not: {error}.") from error
    if not isinstance(fields, dict):
        raise RefusalError(400, f"The body must be a JSON object; got {shortened(fields)}.")
    known = kind.model_fields
    given = {n: value for n, value in _given(fields).items() if n in known or not _asks_for_nothing(n, value)}
    if unknown := sorted(given.keys() - known.keys()):
        names = ", ".join(f"`{shortened(name)[1:-1]}`" for name in unknown[:_NUM_NAMED])
        raise RefusalError(
            400, f"Unknown fields: {names}. Accepted are {', '.join(known)}; leave out the others.", unknown[0][:128],
            "unknown_field",
        )  # fmt: skip
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _said(error) from error


def _asks_for_nothing(name: str, value: Any) -> bool:
    """Say whether a field changes nothing.

    Raises:
        RefusalError: It would change the answer in a way that is not supported.
    """
    if name not in _UNSUPPORTED:
        return name in _WITHOUT_EFFECT
    neutral = _UNSUPPORTED[name]
    if not any(type(value) is type(one) and value == one for one in neutral):
        raise RefusalError(
            400, f"`{name}` is not supported; got {shortened(value)}. Leave it out.", name, "unsupported_parameter"
        )
    return True


def _said(error: ValidationError) -> RefusalError:
    """Say the first thing that is wrong with a request in a sentence."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))[:128]
    words = first["msg"].removeprefix("Value error, ")
    if not place:
        return RefusalError(400, f"{words}.")
    found = "" if first["type"] in ("missing", "extra_forbidden") else f"; got {shortened(first['input'])}"
    return RefusalError(400, f"`{place}`: {words}{found}.", place)
