"""Reading documents once and answering questions about them. Source: ours; what is computed: paper, section 2."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence, block, cut_into_chunks, split_documents
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.generate import GenerationSettings, Streamer, generate
from focusllm.decoding.limits import check_room
from focusllm.documents.document import FocusDocument
from focusllm.documents.text import text_of
from focusllm.errors import ConfigurationError, InputError

# What is read: text, the path of a text file, or what was read before.
Source = str | Path | FocusDocument
# Room behind every chunk for the prompt block of a question to come, in tokens; a longer one is copied once.
_USUAL_PROMPT = 128


@dataclass(frozen=True)
class Answer:
    """An answer to a question about a document.

    Attributes:
        text: The answer.
        token_ids: Its tokens, with the one that ended it.
        num_tokens: Tokens read: document and question.
        num_chunks: Chunks the document was divided into; 0 where it fitted the window.
        seconds: Time this question took; reading documents for the first time counts to the first question.
    """

    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    num_chunks: int
    seconds: float


class DocumentReader:
    """Reads documents and answers questions about them.

    Args:
        engine: What computes.
        tokenizer: What turns text into tokens and back; without one, text is refused.
    """

    def __init__(self, engine: FocusEngine, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._engine = engine
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            ConfigurationError: There is none.
        """
        if self._tokenizer is None:
            raise ConfigurationError("Text needs a tokenizer: give one to FocusModel, or call it with token ids.")
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids

    def open(self, source: Source | Sequence[int]) -> FocusDocument:
        """Cut a document into chunks, without reading them yet."""
        if isinstance(source, FocusDocument):
            return source
        is_text = isinstance(source, str | Path)
        token_ids = self.encode(text_of(source)) if is_text else list(source)
        if not token_ids:
            raise InputError("The document is empty: there is nothing to ask about.")
        name = str(source) if isinstance(source, Path) else "The document"
        return FocusDocument(name, token_ids, cut_into_chunks(token_ids, self._engine.config.chunk_length))

    def read(self, documents: Sequence[FocusDocument], prompt_length: int | None, progress: Progress | None) -> None:
        """Read those documents that have not been read, and keep their keys and values.

        Args:
            documents: The documents.
            prompt_length: Tokens of the longest prompt block that will follow; ``None``: not known.
            progress: Called with the tokens read so far and those to be read in all.
        """
        room = prompt_length or min(self._engine.config.dynamic_prompt_length, _USUAL_PROMPT)
        unread = [document for document in documents if document.cache is None]
        total, done = sum(document.num_tokens for document in unread), 0
        for document in unread:

            def move(read: int, _: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + read, total)

            document.cache = self._engine.index([document.chunks], [room], move)
            done += document.num_tokens

    def ask(
        self,
        sources: Sequence[Source],
        questions: Sequence[str],
        settings: GenerationSettings,
        progress: Progress | None = None,
        streamer: Streamer | None = None,
    ) -> list[Answer]:
        """Answer questions one after the other; each document is read once.

        Raises:
            InputError: A document or a question is empty, or a file is not text.
            WindowError: Candidates and question would exceed the base's window; nothing has been run then.
        """
        started = time.perf_counter()
        locals_ = [self._local(question) for question in questions]
        documents = [self.open(source) for source in sources]
        sequences = [self._split(documents, local, settings.max_new_tokens) for local in locals_]
        for sequence in sequences:
            check_room(sequence, self._engine.config, self._engine.window, settings.max_new_tokens)
        if any(sequence.chunks for sequence in sequences):
            longest = min(max(map(len, locals_)) + 1, self._engine.config.dynamic_prompt_length + 1)
            self.read(documents, longest, progress)
        answers = []
        for sequence in sequences:
            chunks = _lent(documents) if sequence.chunks else None
            [row] = generate(self._engine, [sequence], settings, self._tokenizer, streamer, chunks=chunks)
            seconds, started = time.perf_counter() - started, time.perf_counter()
            answers.append(Answer(self._text(row), tuple(row), sequence.num_tokens, sequence.num_chunks, seconds))
        return answers

    def _local(self, question: str) -> list[int]:
        if not question.strip():
            raise InputError("The question is empty. Ask something about the document.")
        return self.encode(self._engine.config.question_template.replace("{question}", question.strip()))

    def _split(self, documents: Sequence[FocusDocument], local: Sequence[int], new_tokens: int) -> SplitSequence:
        window = self._engine.window - new_tokens - 1
        sequence = split_documents([document.chunks for document in documents], local, window)
        if sequence.chunks:
            return sequence
        return SplitSequence((), block(sequence.local, self._engine.bos_token_id))

    def _text(self, token_ids: Sequence[int]) -> str:
        text = str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))
        for stop in self._engine.config.answer_stops:
            text = text.removesuffix(stop)
        return text.strip()


def _lent(documents: Sequence[FocusDocument]) -> ChunkCache:
    """Put the chunks of several documents one behind the other, for one question."""
    batches, first = [], 0
    for document in documents:
        assert document.cache is not None  # read() has filled it
        batches += document.cache.lent(first).batches
        first += document.num_chunks
    return ChunkCache(batches)
