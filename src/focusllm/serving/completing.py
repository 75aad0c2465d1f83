"""From requests to calls of the model: questions about documents, conversations, texts to go on with. Source: ours."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from focusllm.answering import text_of_answer, text_of_tokens
from focusllm.chunking import check_vocabulary
from focusllm.condensing.families import vocabulary_of
from focusllm.errors import ConfigurationError
from focusllm.growing_text import GrowingText
from focusllm.model import FocusModel
from focusllm.questions import Question, stops_of, worded_conversation
from focusllm.serving.engine import Task
from focusllm.serving.protocol import ChatRequest, CompletionRequest, GenerationRequest, Message
from focusllm.serving.refusal import RefusalError
from focusllm.serving.sessions import Sessions


@dataclass(frozen=True)
class Completion:
    """What a request for text gets.

    Attributes:
        text: The text.
        prompt_tokens: Tokens of documents and prompt.
        completion_tokens: Tokens of the text, with the one that ended it.
        is_whole: Whether it ended by itself or by a stop, and not because it had as many tokens as it may.
        evidence: The chunks it rests on; ``None`` where nobody asked for them.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    is_whole: bool
    evidence: list[dict[str, Any]] | None = None


class _Watched(GrowingText):
    """Hands on text, and ends the work at the next token once nobody waits for it."""

    def __init__(self, text_of: Callable[[list[int]], str], stops: Sequence[str], task: Task[Any]) -> None:
        super().__init__(text_of, stops, task.say)
        self._task = task

    def put(self, value: Any) -> None:
        """Take further tokens."""
        self._task.check()
        super().put(value)


class Completer:
    """Answers requests for text, in the engine's thread.

    Args:
        model: The model.
        sessions: The documents that requests name.
        most_tokens: Most tokens of an answer where the request does not say.

    Raises:
        ConfigurationError: The model has no tokenizer.
    """

    def __init__(self, model: FocusModel, sessions: Sessions, most_tokens: int) -> None:
        if model.tokenizer is None:
            raise ConfigurationError(
                "A server answers in text, and this base comes without a tokenizer: add its files."
            )
        self._model, self._sessions, self._most_tokens = model, sessions, most_tokens
        self._tokenizer: PreTrainedTokenizerBase = model.tokenizer

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations need no document to be about."""
        return bool(self._tokenizer.chat_template)

    def chat(self, request: ChatRequest, task: Task[Completion]) -> Completion:
        """Go on with a conversation, about documents if it names any.

        Raises:
            FocusError: It cannot be gone on with; the text says why.
        """
        if request.documents is None:
            token_ids = worded_conversation(self._turns(request.messages), self._tokenizer)
            return self._continue(token_ids, text_of_answer, request, task)
        if self.has_chat_template:
            return self._ask(self._turns(request.messages), [], request, task)
        question, history = _question_and_history(request.messages)
        return self._ask(question, history, request, task)

    def complete(self, request: CompletionRequest, task: Task[Completion]) -> Completion:
        """Go on with a text or token ids; where documents are named, the text is a question about them.

        Raises:
            FocusError: It cannot be gone on with; the text says why.
        """
        prompt = request.prompt
        if request.documents is not None:
            if not isinstance(prompt, str):
                raise RefusalError(
                    400, "`prompt` is a question where `documents` are named: give it as text.", "prompt"
                )
            return self._ask(prompt, [], request, task)
        if isinstance(prompt, str):
            prompt = self._tokenizer(prompt, verbose=False).input_ids
            if not prompt:
                raise RefusalError(400, "`prompt` is empty: there are no tokens to go on with.", "prompt")
        check_vocabulary(prompt, vocabulary_of(self._model.base))
        return self._continue(prompt, partial(text_of_tokens, before=prompt[-1:]), request, task)

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        if not self.has_chat_template:
            raise RefusalError(
                400, "The model has no chat template, so what it chats about are documents: name some in `documents` "
                "(POST /v1/documents adds one), or use /v1/completions.", "documents",
            )  # fmt: skip
        return [message.model_dump() for message in messages]

    def _ask(
        self, question: Question, history: list[tuple[str, str]], request: GenerationRequest, task: Task[Completion]
    ) -> Completion:
        stops = [*request.stop, *(stops_of(question, self._model.config) or ())]
        settings = self._settings(request, stops, text_of_answer, task)
        answer = self._model.ask(
            self._sessions.named(request.documents or []), question, history=history, **settings
        )  # fmt: skip
        evidence = [asdict(span) for span in answer.evidence] if request.evidence else None
        is_whole = self._is_whole(answer.token_ids, stops, settings["max_new_tokens"])
        return Completion(answer.text, answer.num_tokens, len(answer.token_ids), is_whole, evidence)

    def _continue(
        self, token_ids: list[int], text_of: Callable[..., str], request: GenerationRequest, task: Task[Completion]
    ) -> Completion:
        settings = self._settings(request, request.stop, text_of, task)
        prompt = torch.tensor([token_ids], dtype=torch.int64, device=self._model.device)
        new = self._model.generate(prompt, **settings)[0, len(token_ids) :].tolist()
        is_whole = self._is_whole(new, request.stop, settings["max_new_tokens"])
        return Completion(text_of(self._tokenizer, new, request.stop), len(token_ids), len(new), is_whole)

    def _settings(
        self, request: GenerationRequest, stops: list[str], text_of: Callable[..., str], task: Task[Completion]
    ) -> dict[str, Any]:
        return {
            "max_new_tokens": request.most_tokens or self._most_tokens,
            "seed": request.seed,
            "stop_strings": stops,
            "streamer": _Watched(partial(text_of, self._tokenizer, stops=stops), stops, task),
            "progress": lambda read, total: task.check(),
            **request.sampling(),
        }

    def _is_whole(self, token_ids: Sequence[int], stops: Sequence[str], most_tokens: int) -> bool:
        ends: Any = self._model.base.generation_config.eos_token_id  # type: ignore[union-attr]
        text = str(self._tokenizer.decode(list(token_ids)))
        is_ended = token_ids[-1] in (ends if isinstance(ends, list) else [ends]) or any(stop in text for stop in stops)
        return is_ended or len(token_ids) < most_tokens


def _question_and_history(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """Return the last message and, before it, pairs of questions and answers.

    Raises:
        RefusalError: They are something else.
    """
    if [message.role for message in messages] != ["user", "assistant"] * (len(messages) // 2) + ["user"]:
        raise RefusalError(
            400, "The model has no chat template: `messages` must be questions (role 'user') with their answers (role "
            "'assistant') between them, and end with a question. Put what a system message says into the question.",
            "messages",
        )  # fmt: skip
    texts = [message.content for message in messages]
    return texts[-1], list(zip(texts[:-1:2], texts[1::2], strict=True))
