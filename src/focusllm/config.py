"""The settings of the method, in one dataclass."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from focusllm.errors import ConfigurationError
from focusllm.kinds import build_settings, check_kinds

LOCAL_REFRESHES = ("recompute", "cached")
CHUNK_KVS = ("model", "int8")
PROJECTION_ROLES = ("q", "k", "v", "o")


@dataclass(frozen=True)
class FocusConfig:
    """Settings of the method; the defaults are the paper's. Source: arXiv 2408.11745, sections 2 and 4.1.

    Attributes:
        chunk_length: Tokens per chunk; the last chunk of a document may be shorter.
        longest_chunk: Chunks of a text of which the window could not hold the candidates are twice as long, or four
            times, and so on, but no longer than this (ours). ``None``: such a text is refused.
        local_length: Tokens of local context when the model itself splits a long sequence; also the most tokens of
            question and history.
        dynamic_prompt_length: How many of the last tokens of the local context follow every chunk; all of them, if
            it is shorter.
        rank: ``None`` trains full candidate projections (the paper's); a number trains a low-rank difference of
            this rank to the frozen projections (ours).
        candidate_projections: The attention projections of which candidates have their own.
        candidate_refresh: Make all candidates again every so many generated tokens; 1 is the paper's, 0 makes them
            once, from the question (ours).
        focus_share: Between those refreshes, make the candidates of the most important chunks again at every token:
            the fewest chunks that together get this share of the attention to candidates, such as 0.99 (ours).
            ``None`` leaves this out.
        local_refresh: ``"recompute"`` runs the whole local context again for every token (the paper's);
            ``"cached"`` runs only the new token (ours).
        insert_bos: Put the tokenizer's BOS before the prompt block and the local block.
        chunk_bos: Also put BOS before every chunk (ours), for bases that have never seen a text without it.
        chunk_overlap: How many of the last tokens of the previous chunk each chunk starts with (ours), so that no
            passage shorter than this is cut in two.
        chunk_kv: How keys and values of chunks are stored: ``"model"``, in the base's own precision, or ``"int8"``,
            rounded, in half the memory of 16 bits (ours).
        question_template: How questions are worded for this adapter; ``{question}`` is replaced (ours).
        answer_stops: Texts that end an answer to a question (ours).
        static_prompt: Token ids that follow every chunk in place of the dynamic prompt (ours, to compare with).
            Candidates are then the same whatever is asked, and are made once: ``candidate_refresh`` must be 0.
        candidates_per_chunk: How many candidates stand for a chunk: the last token behind it, so many times (the
            paper's is 1; more: ours). They take as many positions in front of the local context.
    """

    chunk_length: int = 2048
    local_length: int = 2048
    dynamic_prompt_length: int = 512
    rank: int | None = None
    candidate_projections: tuple[str, ...] = PROJECTION_ROLES
    candidate_refresh: int = 1
    focus_share: float | None = None
    local_refresh: str = "recompute"
    insert_bos: bool = True
    chunk_bos: bool = False
    chunk_overlap: int = 0
    chunk_kv: str = "model"
    question_template: str = "\n\nQuestion: {question}\nAnswer:"
    answer_stops: tuple[str, ...] = ("\n",)
    static_prompt: tuple[int, ...] = ()
    candidates_per_chunk: int = 1
    longest_chunk: int | None = None

    def __post_init__(self) -> None:
        check_kinds(FocusConfig, vars(self))
        for name in ("chunk_length", "local_length", "dynamic_prompt_length", "candidates_per_chunk"):
            _require_positive(name, getattr(self, name))
        if self.longest_chunk is not None:
            _require_positive("longest_chunk", self.longest_chunk)
        if not 0 <= self.chunk_overlap < self.chunk_length:
            raise ConfigurationError(
                f"`chunk_overlap` must be at least 0 and less than `chunk_length`; got an overlap of "
                f"{self.chunk_overlap!r} with chunks of {self.chunk_length}. Make either fit."
            )
        if self.rank is not None and self.rank < 1:
            raise ConfigurationError(
                f"`rank` must be a positive number, or left out for full projections; got {self.rank!r}."
            )
        if self.candidate_refresh < 0:
            raise ConfigurationError(
                f"`candidate_refresh` must be 0 (candidates are made once) or a number of tokens; "
                f"got {self.candidate_refresh!r}."
            )
        self._check_focus()
        if self.static_prompt and (self.candidate_refresh or self.focus_share is not None):
            raise ConfigurationError(
                f"Candidates behind a `static_prompt` never change: set `candidate_refresh` to 0 and leave out "
                f"`focus_share`; got {self.candidate_refresh!r} and {self.focus_share!r}."
            )
        if self.local_refresh not in LOCAL_REFRESHES:
            raise ConfigurationError(f"`local_refresh` must be 'recompute' or 'cached'; got {self.local_refresh!r}.")
        if self.chunk_kv not in CHUNK_KVS:
            raise ConfigurationError(f"`chunk_kv` must be 'model' or 'int8'; got {self.chunk_kv!r}.")
        self._check_projections()
        if "{question}" not in self.question_template:
            raise ConfigurationError(
                f"`question_template` must hold the place of the question as {{question}}; "
                f"got {self.question_template!r}."
            )

    def _check_focus(self) -> None:
        if self.focus_share is None:
            return
        if not 0 < self.focus_share <= 1:
            raise ConfigurationError(f"`focus_share` must be above 0 and at most 1; got {self.focus_share!r}.")
        if self.candidate_refresh == 1:
            raise ConfigurationError(
                "`focus_share` changes nothing where all candidates are made again at every token: "
                "set `candidate_refresh` to 0 or more than 1, such as 16."
            )

    def _check_projections(self) -> None:
        given = self.candidate_projections
        unknown = [role for role in given if role not in PROJECTION_ROLES]
        if unknown or not given:
            raise ConfigurationError(
                f"`candidate_projections` must name one or more of {PROJECTION_ROLES}; got {given!r}."
            )
        # Order and repeats carry no meaning.
        ordered = tuple(role for role in PROJECTION_ROLES if role in given)
        object.__setattr__(self, "candidate_projections", ordered)

    def prompt_length(self, local_length: int | None = None) -> int:
        """Return how many tokens of prompt, without BOS, follow every chunk.

        Args:
            local_length: Tokens of the local context; ``None``: as many as there may be.
        """
        most = len(self.static_prompt) or self.dynamic_prompt_length
        return most if local_length is None or self.static_prompt else min(local_length, most)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return json.loads(json.dumps(asdict(self)))

    def changed(self, changes: Any) -> "FocusConfig":
        """Return the settings with some of them changed; see :meth:`from_dict` for what is refused."""
        return self.from_dict({**self.to_dict(), **changes} if isinstance(changes, Mapping) else changes)

    @classmethod
    def from_dict(cls, values: Any) -> "FocusConfig":
        """Build a config from plain values by their names.

        Raises:
            ConfigurationError: A name is not a setting, or a value is of another kind or out of range.
        """
        return build_settings(cls, values, "FocusConfig")


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"`{name}` must be a positive number of tokens; got {value!r}.")
