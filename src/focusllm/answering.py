"""Reading documents once and answering questions about them. Source: ours; what is computed: paper, section 2."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.tiers import Budgets
from focusllm.chunking import SplitSequence, block, check_vocabulary, join_documents
from focusllm.condensing.bases import tokenizer_fingerprint, weights_fingerprint
from focusllm.condensing.families import bytes_per_token
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.generate import FocusGenerator, decode
from focusllm.decoding.limits import check_room
from focusllm.decoding.recording import can_record, on_candidates
from focusllm.decoding.state import FocusState
from focusllm.documents.document import FocusDocument, Identity
from focusllm.documents.folder import load_folder, reopen_folder, written_folder
from focusllm.documents.sources import Source, listed_sources, token_ids_of
from focusllm.documents.text import text_of
from focusllm.errors import ConfigurationError, DocumentError, InputError
from focusllm.evidence import Evidence, evidence_of
from focusllm.questions import Question, local_context

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
        evidence: The chunks it rests on most, the first one most of all; empty where the document fitted the window.
        chunk_shares: For each token, each chunk's part of the attention that went to candidates; empty as before.
    """

    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    num_chunks: int
    seconds: float
    evidence: tuple[Evidence, ...] = ()
    chunk_shares: tuple[tuple[float, ...], ...] = ()


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

    @cached_property
    def _tokenizer_fingerprint(self) -> str:
        return tokenizer_fingerprint(self._tokenizer)

    @property
    def identity(self) -> Identity:
        """What the keys and values of documents depend on."""
        # Made anew every time, which takes milliseconds: weights change under `to` and when others are loaded.
        weights = weights_fingerprint(self._engine.base)
        dtype = str(next(self._engine.base.parameters()).dtype).removeprefix("torch.")
        bos = self._engine.bos_token_id if self._engine.config.chunk_bos else None
        return Identity(weights, self._tokenizer_fingerprint, dtype, bos, self._engine.config.chunk_kv)

    def open(self, source: Source) -> FocusDocument:
        """Cut a document into chunks, without reading them yet."""
        if isinstance(source, FocusDocument):
            if source.identity != (identity := self.identity):
                raise DocumentError(
                    f"{source.name} was indexed with {source.identity}; this model has {identity}. "
                    f"Ask the model it was indexed with, or index it again."
                )
            return source
        cut = (self._engine.config.chunk_length, self._engine.config.chunk_overlap)
        if not isinstance(source, str | Path):
            return FocusDocument("The document", token_ids_of(source, self._engine.vocabulary), *cut, self.identity)
        name = str(source) if isinstance(source, Path) else "The document"
        text = text_of(source)
        has_offsets = bool(self.tokenizer.is_fast)
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=has_offsets)
        check_vocabulary(encoded.input_ids, self._engine.vocabulary)
        starts = [start for start, _ in encoded["offset_mapping"]] if has_offsets else []  # type: ignore[union-attr]
        return FocusDocument(name, encoded.input_ids, *cut, self.identity, text, starts)

    def load(self, folder: str | Path, budgets: Budgets) -> FocusDocument:
        """Load a document from its folder; see :meth:`FocusModel.load_document`."""
        document = load_folder(folder, self.identity, self._engine.ranks.own)
        assert document.cache is not None  # a folder holds every chunk
        document.cache.keep_within(budgets, bytes_per_token(self._engine.base))
        return document

    def repair(self, folder: str | Path, progress: Progress | None) -> FocusDocument:
        """Read anew what a folder lacks; see :meth:`FocusModel.repair_document`."""
        document = reopen_folder(folder, self.identity)
        self.index(document, folder, self.budgets(None, None), progress)
        return document

    def index(self, document: FocusDocument, path: str | Path, budgets: Budgets, progress: Progress | None) -> None:
        """Read a document into a folder, as far as the folder does not hold it; see :meth:`FocusModel.index`."""
        if self._engine.ranks.count > 1:
            raise ConfigurationError(
                f"{self._engine.ranks.count} processes cannot write one folder: index with a single process; then all "
                f"of them can load it, each its share."
            )
        keeping = budgets, bytes_per_token(self._engine.base)
        with written_folder(path, document) as folder:
            cache = ChunkCache(folder.batches())

            def finish(batch: ChunkBatch) -> None:
                folder.write(batch)
                cache.batches.append(batch)
                cache.keep_within(*keeping)

            self._engine.index([document.chunks], [self._usual_prompt], progress, known=folder.known, finish=finish)
        cache.keep_within(*keeping)
        document.cache = cache

    @property
    def _usual_prompt(self) -> int:
        return min(self._engine.config.dynamic_prompt_length, _USUAL_PROMPT)

    def budgets(self, device_bytes: int | None, cpu_bytes: int | None) -> Budgets:
        """Return the budgets of this model's device; see :meth:`FocusModel.index`."""
        return Budgets.chosen(self._engine.device, device_bytes, cpu_bytes)

    def read(
        self,
        documents: Sequence[FocusDocument],
        prompt_length: int | None,
        progress: Progress | None,
        budgets: Budgets | None = None,
    ) -> None:
        """Read those documents that have not been read, and keep their keys and values.

        Args:
            documents: The documents.
            prompt_length: Tokens of the longest prompt block that will follow; ``None``: not known.
            progress: Called with the tokens read so far and those to be read in all.
            budgets: Bytes that each tier may hold; ``None`` chooses.
        """
        unread = [document for document in documents if document.cache is None]
        if not unread:
            return
        keeping = budgets or self.budgets(None, None), bytes_per_token(self._engine.base)
        total, done = sum(document.num_chunk_tokens for document in unread), 0
        for document in unread:

            def move(read: int, _: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + read, total)

            cache = ChunkCache()

            def finish(batch: ChunkBatch, cache: ChunkCache = cache) -> None:
                cache.batches.append(batch)
                cache.keep_within(*keeping)

            self._engine.index([document.chunks], [prompt_length or self._usual_prompt], move, finish=finish)
            # Only now: a reading that was cut short leaves the document unread.
            document.cache = cache
            done += document.num_chunk_tokens

    def ask(
        self,
        source: Source | Sequence[Source],
        questions: Sequence[Question],
        configs: Sequence[GenerationConfig],
        progress: Progress | None = None,
        history: Sequence[tuple[str, str]] = (),
        **decoding: Any,
    ) -> list[Answer]:
        """Answer questions one after the other; each document is read once.

        Args:
            source: The document, or several.
            questions: The questions.
            configs: For each, how tokens are chosen and when to stop.
            progress: Called with the tokens read so far and those to be read in all.
            history: Questions and answers that came before, as far as ``local_length`` has room for them.
            **decoding: Handed on to :func:`~focusllm.decoding.generate.decode`.

        Raises:
            ConfigurationError: Several outputs were asked for.
            InputError: A document or a question is empty, a file is not text, or there is no document.
            WindowError: Candidates and question would exceed the base's window; nothing has been run then.
        """
        if any(config.num_return_sequences not in (None, 1) for config in configs):
            raise ConfigurationError("A question has one answer: leave out `num_return_sequences`, or set it to 1.")
        started, new_tokens = time.perf_counter(), configs[0].max_new_tokens
        locals_ = [local_context(question, history, self.tokenizer, self._engine.config) for question in questions]
        documents = [self.open(one) for one in listed_sources(source)]
        if not documents:
            raise InputError("There is no document: give one or more.")
        if len({id(document) for document in documents}) < len(documents):
            raise InputError("The same document was given twice; give each once.")
        sequences = [self._split(documents, local, new_tokens) for local in locals_]
        for sequence in sequences:
            check_vocabulary(sequence.local, self._engine.vocabulary)
            check_room(sequence, self._engine.config, self._engine.window, new_tokens)
        if any(sequence.chunks for sequence in sequences):
            longest = min(max(map(len, locals_)) + 1, self._engine.config.dynamic_prompt_length + 1)
            self.read(documents, longest, progress)
        answers = []
        for sequence, config in zip(sequences, configs, strict=True):
            with self._engine.turns:
                row, shares = self._answer(sequence, documents, config, decoding)
            seconds, started = time.perf_counter() - started, time.perf_counter()
            text, size = self._text(row, config.stop_strings), (sequence.num_tokens, sequence.num_chunks)
            evidence = () if shares is None else evidence_of(documents, shares, self.tokenizer)
            parts = [] if shares is None else (shares / shares.sum(dim=1, keepdim=True)).tolist()
            answers.append(Answer(text, tuple(row), *size, seconds, evidence, tuple(map(tuple, parts))))
        return answers

    def _answer(
        self,
        sequence: SplitSequence,
        documents: Sequence[FocusDocument],
        config: GenerationConfig,
        decoding: dict[str, Any],
    ) -> tuple[list[int], Tensor | None]:
        """Decode one answer; with its tokens comes the attention to candidates, (tokens, candidates), if recorded."""
        steps: list[list[Tensor | None]] = []

        def observe(state: FocusState) -> None:
            steps.append(state.shares)

        has_chunks = bool(sequence.chunks)
        generator = FocusGenerator(
            self._engine,
            [sequence],
            _joined(documents) if has_chunks else None,
            observe=observe if has_chunks and can_record(self._engine.base) else None,
        )
        output = decode(generator, [sequence.local], config, tokenizer=self._tokenizer, **decoding)
        [row] = output.sequences.tolist()
        # With beams: from which of them each token of the answer comes; behind a short answer stands -1.
        beam_indices = output.get("beam_indices")
        beams = [0] * len(steps) if beam_indices is None else beam_indices[0].tolist()
        shares = [step[beam] for step, beam in zip(steps, beams, strict=False) if beam >= 0]
        return row, on_candidates(torch.stack([share for share in shares if share is not None])) if shares else None

    def _split(self, documents: Sequence[FocusDocument], local: Sequence[int], new_tokens: int) -> SplitSequence:
        window = self._engine.window - new_tokens - 1
        sequence = join_documents(documents, local, window)
        if sequence.chunks:
            return sequence
        return SplitSequence((), block(sequence.local, self._engine.local_bos))

    def _text(self, token_ids: Sequence[int], stops: Sequence[str] | None) -> str:
        text = str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))
        # Behind a stop its last token may hold more.
        for stop in stops or ():
            text = text.partition(stop)[0]
        return text.strip()


def _joined(documents: Sequence[FocusDocument]) -> ChunkCache:
    """Put the chunks of several documents one behind the other."""
    batches, first = [], 0
    for document in documents:
        assert document.cache is not None  # read() has filled it
        document.cache.number_from(first)
        batches += document.cache.batches
        first += document.num_chunks
    return ChunkCache(batches)
