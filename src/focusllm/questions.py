"""What is asked, put into the words and tokens of a local context. Source: ours."""

from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from focusllm.config import FocusConfig
from focusllm.documents.text import check_unicode
from focusllm.errors import ConfigurationError, InputError

# A conversation as transformers' chat templates take it: messages with `role` and `content`, the user's turn last.
Conversation = Sequence[Mapping[str, str]]
Question = str | Conversation
# Several of them, for those who check types: a sequence of messages is a single one.
Questions = list[str] | list[Conversation] | list[Question] | tuple[Question, ...]


def is_one(question: Question | Sequence[Question]) -> bool:
    """Tell one question, or one conversation, from several."""
    return isinstance(question, str) or all(isinstance(part, Mapping) for part in question)


def listed(question: Question | Sequence[Question]) -> list[Question]:
    """Return questions as a list, also where there is but one.

    Raises:
        InputError: There is none, one is empty, or one is neither text nor a conversation.
    """
    if question is None or (isinstance(question, Sequence) and not question and not isinstance(question, str)):
        raise InputError("There is no question: give one or more.")
    several = question if isinstance(question, Sequence) and not is_one(question) else [question]
    for one in several:
        if not isinstance(one, Sequence) or not is_one(one):
            raise InputError(
                f"A question is text, or a conversation: a list of messages with `role` and `content`; "
                f"got {shortened(one)} ({type(one).__name__})."
            )
        if isinstance(one, str) and not one.strip():
            raise InputError("The question is empty. Ask something about the document.")
    return cast("list[Question]", list(several))


def pairs_of(history: Any) -> list[tuple[str, str]]:
    """Return what was asked and answered before a question; ``None`` is nothing.

    Raises:
        InputError: It is not made of pairs of texts.
    """
    pairs = list(history) if isinstance(history, Iterable) else [] if history is None else [history]
    for pair in pairs:
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            raise InputError(
                f"`history` is made of pairs of texts, question and answer; got {shortened(pair)} "
                f"({type(pair).__name__}). Of an answer give its `text`; messages with `role` and `content` are given "
                f"in the place of the question."
            )
    return pairs


def stops_of(question: Question, config: FocusConfig) -> tuple[str, ...] | None:
    """Return the texts that end the answer; a conversation ends as the base has learned to end one."""
    return config.answer_stops if isinstance(question, str) else None


def local_context(
    question: Question,
    history: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    config: FocusConfig,
    room: int,
) -> list[int]:
    """Return the tokens of a question or conversation.

    Args:
        question: A question, worded by the ``question_template``, or a conversation, by the chat template.
        history: Questions and answers that came before a question.
        tokenizer: Turns text into tokens.
        config: Says how questions are worded.
        room: Most tokens of history and question together; the first ones of the history are left out where it does
            not suffice for all.

    Raises:
        ConfigurationError: There is no chat template, or a conversation comes with a history besides its own.
        InputError: A conversation is not made of messages, or the chat template refuses it.
    """
    if not isinstance(question, str):
        if history:
            raise ConfigurationError("A conversation holds what was said before: leave out `history`.")
        return worded_conversation(question, tokenizer)
    said = _asked(question, config)
    local = _encoded(said, tokenizer)
    for before, answer in reversed(history):
        said = f"{_asked(before, config)} {answer}{said}"
        longer = _encoded(said, tokenizer)
        if len(longer) > room:
            break
        local = longer
    return local


def _asked(question: str, config: FocusConfig) -> str:
    return config.question_template.replace("{question}", question.strip())


def _encoded(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    check_unicode(text, "The question")
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids


def worded_conversation(
    messages: Conversation, tokenizer: PreTrainedTokenizerBase, *, is_answered: bool = False
) -> list[int]:
    """Return the tokens of a conversation, as the tokenizer's chat template words it.

    Args:
        messages: The conversation.
        tokenizer: The tokenizer.
        is_answered: Whether the last message is the answer; otherwise room for one is opened behind it.

    Raises:
        ConfigurationError: There is no chat template.
        InputError: The conversation is not made of messages, or the template refuses it.
    """
    return list(_worded(messages, tokenizer, is_answered=is_answered, tokenize=True))


def conversation_text(messages: Conversation, tokenizer: PreTrainedTokenizerBase, *, is_answered: bool = False) -> str:
    """Return a conversation as :func:`worded_conversation` words it, as text."""
    return str(_worded(messages, tokenizer, is_answered=is_answered, tokenize=False))


def _worded(messages: Conversation, tokenizer: PreTrainedTokenizerBase, *, is_answered: bool, tokenize: bool) -> Any:
    if not tokenizer.chat_template:
        raise ConfigurationError("The tokenizer has no chat template: use plain text in place of messages.")
    if not messages or not all({"role", "content"} <= message.keys() for message in messages):
        raise InputError(f"A conversation is a list of messages with `role` and `content`; got {messages!r}.")
    for message in messages:
        check_unicode(str(message["content"]), "A message")
    try:
        # The template brings whatever special tokens it wants.
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=not is_answered,
            tokenize=tokenize,
            return_dict=False,
        )
    except TemplateError as error:
        raise InputError(
            f"The tokenizer's chat template refuses this conversation ({error}): give messages with the roles and in "
            f"the order that it knows."
        ) from error
