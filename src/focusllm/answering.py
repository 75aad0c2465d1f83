"""Answering questions about documents. Source: ours; what is computed: paper, section 2."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from focusllm.cache.chunks import ChunkCache
from focusllm.chunking import SplitSequence, block, check_vocabulary, join_documents
from focusllm.condensing.bases import pad_token_id_of
from focusllm.decoding.engine import Progress
from focusllm.decoding.generate import FocusGenerator, decode
from focusllm.decoding.limits import check_room, room_for_local, room_for_whole
from focusllm.decoding.recording import can_record, on_candidates
from focusllm.decoding.settings import check_seed, extras_of, generation_config_for
from focusllm.decoding.state import FocusState
from focusllm.documents.document import FocusDocument
from focusllm.documents.sources import Source, listed_sources
from focusllm.errors import ConfigurationError, InputError
from focusllm.evidence import Evidence, evidence_of
from focusllm.questions import Question, local_context, pairs_of, stops_of
from focusllm.reading import DocumentReader


@dataclass(frozen=True)
class Answer:
    """An answer to a question about a document.

    Attributes:
        text: The answer.
        token_ids: Its tokens, including the one that ended it.
        num_tokens: Tokens of document and question.
        num_chunks: Chunks that the document was cut into; 0 if it fitted the window.
        seconds: Time this question took; the first question includes reading the documents.
        evidence: The chunks that the answer rests on, most important first; empty if the document fitted the window.
        chunk_shares: For each token of the answer, each chunk's share of the attention to candidates; empty if the
            document fitted the window.
    """

    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    num_chunks: int
    seconds: float
    evidence: tuple[Evidence, ...] = ()
    # As many numbers as tokens times chunks, which nobody would read.
    chunk_shares: tuple[tuple[float, ...], ...] = field(default=(), repr=False)


class Answerer:
    """Answers questions about documents.

    Args:
        reader: What reads them.
    """

    def __init__(self, reader: DocumentReader) -> None:
        self._reader = reader
        self._engine = reader.engine

    def ask(
        self,
        source: Source | Sequence[Source],
        questions: Sequence[Question],
        new_tokens: int,
        settings: dict[str, Any],
        progress: Progress | None = None,
        seed: int | None = None,
    ) -> Iterator[Answer]:
        """Answer questions one after the other, each when its answer is asked for; each document is read once.

        Args:
            source: The document, or several.
            questions: The questions.
            new_tokens: Most tokens of an answer.
            settings: What else :meth:`FocusModel.ask` takes.
            progress: Called with the tokens read so far and those to be read in all.
            seed: Seed of the draws, for every question.

        Raises:
            ConfigurationError: A setting is unknown, out of range or not supported.
            InputError: A document is empty, a file is not text, there is no document, or the history is something else.
            WindowError: Candidates and question would exceed the base's window; nothing has been run then.
        """
        check_seed(seed)
        started, extras, history = time.perf_counter(), extras_of(settings), pairs_of(settings.pop("history", None))
        configs = [self._decoding(question, {"max_new_tokens": new_tokens, **settings}) for question in questions]
        new_tokens = configs[0].max_new_tokens
        documents = self._opened(source)
        chunks = [chunk for document in documents for chunk in document.chunks]
        room = room_for_local(chunks, self._engine.config, self._engine.window, new_tokens)
        said = self._reader.tokenizer, self._engine.config, room
        locals_ = [local_context(question, history, *said) for question in questions]
        sequences = [self._split(documents, local, new_tokens) for local in locals_]
        if any(sequence.chunks for sequence in sequences):
            longest = self._engine.config.prompt_length(max(map(len, locals_))) + 1
            self._reader.read(documents, longest, progress)
        for sequence, config in zip(sequences, configs, strict=True):
            with self._engine.turns:
                row, shares = self._answer(sequence, documents, config, {"seed": seed, **extras})
            seconds = time.perf_counter() - started
            text = text_of_answer(self._reader.tokenizer, row, config.stop_strings)
            size = sequence.num_tokens, sequence.num_chunks
            evidence = () if shares is None else evidence_of(documents, shares, self._reader.tokenizer)
            parts = [] if shares is None else (shares / shares.sum(dim=1, keepdim=True)).tolist()
            yield Answer(text, tuple(row), *size, seconds, evidence, tuple(map(tuple, parts)))
            started = time.perf_counter()

    def _decoding(self, question: Question, settings: dict[str, Any]) -> GenerationConfig:
        """Return how the tokens of an answer are chosen and when to stop."""
        base, own = self._engine.base, {"stop_strings": stops_of(question, self._engine.config)}
        config = generation_config_for(base, None, {**own, **settings}, pad_token_id_of(base, self._reader.tokenizer))
        if config.num_return_sequences not in (None, 1):
            raise ConfigurationError("A question has one answer: leave out `num_return_sequences`, or set it to 1.")
        return config

    def _opened(self, source: Source | Sequence[Source]) -> list[FocusDocument]:
        identity = self._reader.identity
        documents = [self._reader.open(one, identity) for one in listed_sources(source)]
        if not documents:
            raise InputError("There is no document: give one or more.")
        if len({id(document) for document in documents}) < len(documents):
            raise InputError("The same document was given twice; give each once.")
        return documents

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
        output = decode(generator, [sequence.local], config, tokenizer=self._reader.tokenizer, **decoding)
        [row] = output.sequences.tolist()
        # With beams: from which of them each token of the answer comes; behind a short answer stands -1.
        beam_indices = output.get("beam_indices")
        beams = [0] * len(steps) if beam_indices is None else beam_indices[0].tolist()
        shares = [step[beam] for step, beam in zip(steps, beams, strict=False) if beam >= 0]
        return row, on_candidates(torch.stack([share for share in shares if share is not None])) if shares else None

    def _split(self, documents: Sequence[FocusDocument], local: Sequence[int], new_tokens: int) -> SplitSequence:
        engine = self._engine
        check_vocabulary(local, engine.vocabulary)
        # A chat template may bring BOS, which belongs before the document where there are no chunks.
        bare = local[1:] if local[:1] == [engine.local_bos] else local
        sequence = join_documents(documents, bare, room_for_whole(engine.window, new_tokens))
        if not sequence.chunks:
            sequence = SplitSequence((), block(sequence.local, engine.local_bos))
        check_room(sequence, engine.config, engine.window, new_tokens)
        return sequence


def text_of_answer(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stops: Sequence[str] | None) -> str:
    """Return what the tokens of an answer say, up to the first stop."""
    return text_of_tokens(tokenizer, token_ids, stops).strip()


def text_of_tokens(
    tokenizer: PreTrainedTokenizerBase,
    token_ids: Sequence[int],
    stops: Sequence[str] | None,
    before: Sequence[int] = (),
) -> str:
    """Return what tokens say, with all spaces, up to the first stop.

    Args:
        tokenizer: The tokenizer.
        token_ids: The tokens.
        stops: Texts that end what they say, and are no part of it.
        before: What they go on from. Some tokenizers drop a space at the head of a text; behind others it is kept.
    """
    head, text = (str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in ([*before], [*before, *token_ids]))
    # What a part of a character says, changes with the rest of it.
    text = text[len(head) :] if text.startswith(head) else str(tokenizer.decode([*token_ids], skip_special_tokens=True))
    # Behind a stop its last token may hold more.
    for stop in stops or ():
        text = text.partition(stop)[0]
    return text


def _joined(documents: Sequence[FocusDocument]) -> ChunkCache:
    """Put the chunks of several documents one behind the other."""
    batches, first = [], 0
    for document in documents:
        assert document.cache is not None  # read() has filled it
        document.cache.number_from(first)
        batches += document.cache.batches
        first += document.num_chunks
    return ChunkCache(batches)
