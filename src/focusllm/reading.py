"""Opening documents, reading them once and keeping what was read. Source: ours."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.tiers import Budgets
from focusllm.chunking import SplitSequence, cut_for
from focusllm.condensing.families import bytes_per_token
from focusllm.condensing.fingerprints import tokenizer_fingerprint, weights_fingerprint
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.decoding.limits import check_room
from focusllm.decoding.modes import precision_of
from focusllm.documents.document import FocusDocument, Identity
from focusllm.documents.folder import load_folder, reopen_folder, written_folder
from focusllm.documents.sources import Source, token_ids_of
from focusllm.documents.text import text_of
from focusllm.errors import ConfigurationError, DocumentError

# Room behind every chunk for the prompt block of a question to come, in tokens; a longer one is copied once.
_USUAL_PROMPT = 128


class DocumentReader:
    """Opens documents, reads them and keeps their keys and values.

    Args:
        engine: What computes.
        tokenizer: What turns text into tokens and back; without one, text is refused.
    """

    def __init__(self, engine: FocusEngine, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.engine = engine
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
        # Made anew every time, which takes milliseconds: weights change in more ways than can be told otherwise.
        weights = weights_fingerprint(self.engine.base)
        dtype = precision_of(next(self.engine.base.parameters()))
        bos = self.engine.bos_token_id if self.engine.config.chunk_bos else None
        return Identity(weights, self._tokenizer_fingerprint, dtype, bos, self.engine.config.chunk_kv)

    def open(self, source: Source, identity: Identity | None = None, name: str | None = None) -> FocusDocument:
        """Cut a document into chunks, without reading them yet.

        Args:
            source: The document.
            identity: :attr:`identity`, where it is at hand: of many documents it is made once.
            name: What messages call it; ``None``: its path, or "The document".

        Raises:
            DocumentError: It was indexed by another model, or in another way.
        """
        identity = identity or self.identity
        if isinstance(source, FocusDocument):
            if source.identity != identity:
                raise DocumentError(
                    f"{source.name} was indexed with {source.identity}; this model has {identity}. "
                    f"Ask a model loaded as that one was, or index it again."
                )
            source.name = name or source.name
            return source
        within = self.engine.config, self.engine.window
        if not isinstance(source, str | Path):
            token_ids = token_ids_of(source, self.engine.vocabulary)
            return FocusDocument(name or "The document", token_ids, *cut_for(len(token_ids), *within), identity)
        text = text_of(source, name)
        name = name or (str(source) if isinstance(source, Path) else "The document")
        has_offsets = bool(self.tokenizer.is_fast)
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=has_offsets)
        token_ids = token_ids_of(encoded.input_ids, self.engine.vocabulary)
        starts = [start for start, _ in encoded["offset_mapping"]] if has_offsets else []  # type: ignore[union-attr]
        return FocusDocument(name, token_ids, *cut_for(len(token_ids), *within), identity, text, starts)

    def load(self, folder: str | Path, budgets: Budgets) -> FocusDocument:
        """Load a document from its folder; see :meth:`FocusModel.load_document`."""
        document = load_folder(folder, self.identity, self.engine.ranks.own)
        assert document.cache is not None  # a folder holds every chunk
        document.cache.keep_within(budgets, bytes_per_token(self.engine.base))
        return document

    def repair(self, folder: str | Path, progress: Progress | None) -> FocusDocument:
        """Read anew what a folder lacks; see :meth:`FocusModel.repair_document`."""
        return self.index(reopen_folder(folder, self.identity), folder, self.budgets(None, None), progress)

    def index(
        self,
        source: Source,
        folder: str | Path | None,
        budgets: Budgets,
        progress: Progress | None,
        name: str | None = None,
    ) -> FocusDocument:
        """Read a document, and into a folder as far as the folder does not hold it; see :meth:`FocusModel.index`."""
        document = self.open(source, name=name)
        # Of what not even the shortest question fits behind, nothing is read.
        shortest = SplitSequence(document.chunks, document.token_ids[:1], document.num_repeated)
        check_room(shortest, self.engine.config, self.engine.window, new_tokens=1)
        if folder is None:
            self.read([document], None, progress, budgets)
        else:
            self._read_into(folder, document, budgets, progress)
        return document

    def _read_into(
        self, path: str | Path, document: FocusDocument, budgets: Budgets, progress: Progress | None
    ) -> None:
        if self.engine.ranks.count > 1:
            raise ConfigurationError(
                f"{self.engine.ranks.count} processes cannot write one folder: index with a single process; then all "
                f"of them can load it, each its share."
            )
        keeping = budgets, bytes_per_token(self.engine.base)
        batch_bytes = budgets.batch_bytes(document.num_chunk_tokens * keeping[1])
        with written_folder(path, document) as folder:
            cache = ChunkCache(folder.batches())

            def finish(batch: ChunkBatch) -> None:
                batch.home = folder.write(batch)
                cache.batches.append(batch)
                cache.keep_within(*keeping)

            given = [document.chunks], [self._usual_prompt], progress
            self.engine.index(*given, known=folder.known, batch_bytes=batch_bytes, finish=finish)
        cache.keep_within(*keeping)
        document.cache = cache

    @property
    def _usual_prompt(self) -> int:
        return self.engine.config.prompt_length(_USUAL_PROMPT)

    def budgets(self, device_bytes: int | None, cpu_bytes: int | None) -> Budgets:
        """Return the budgets of this model's device; see :meth:`FocusModel.index`."""
        return Budgets.chosen(self.engine.device, device_bytes, cpu_bytes)

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
        keeping = budgets or self.budgets(None, None), bytes_per_token(self.engine.base)
        total, done = sum(document.num_chunk_tokens for document in unread), 0
        for document in unread:

            def move(read: int, _: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + read, total)

            cache = ChunkCache()

            def finish(batch: ChunkBatch, cache: ChunkCache = cache) -> None:
                cache.batches.append(batch)
                cache.keep_within(*keeping)

            self.engine.index([document.chunks], [prompt_length or self._usual_prompt], move, finish=finish)
            # Only now: a reading that was cut short leaves the document unread.
            document.cache = cache
            done += document.num_chunk_tokens
