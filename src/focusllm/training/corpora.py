"""Where training text comes from: files, data sets in the format of Hugging Face, the Python installation."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from focusllm.bundled.text import installation_texts
from focusllm.condensing.fingerprints import tokenizer_fingerprint
from focusllm.condensing.hub import split_revision
from focusllm.documents.text import lines_of, text_of
from focusllm.errors import InputError, MissingDependencyError
from focusllm.files import file_checksum
from focusllm.questions import conversation_text, worded_conversation
from focusllm.training.token_store import TokenSequences, stored

# The standard library's own text, as a place among files; the share bundled models may be trained on.
INSTALLATION = "installation:train"
# A fast tokenizer works on as many texts at a time as it has threads; more would only take memory.
_TEXTS_AT_ONCE = 64
_TEXT, _RECORD, _CONVERSATION = ("text",), ("prompt", "completion"), "messages"


@dataclass(frozen=True)
class Corpus:
    """Texts, or records, of one place.

    Attributes:
        files: Files and globs, ``installation:train`` among them; empty where there is a data set.
        folder: Where relative ones are looked for.
        dataset: A data set on the Hub, or its folder; it is streamed.
        subset: Its subset (``name`` in the library ``datasets``).
        split: Its split.
        limit: At most so many of the first texts or records, or ``None`` for all.
    """

    files: tuple[str, ...]
    folder: Path
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    limit: int | None = None

    def texts(self) -> Iterator[str]:
        """Yield the texts.

        Raises:
            InputError: A pattern matches nothing, a file is not what its name says, or a record lacks its text.
            MissingDependencyError: A library that reads the format is not installed.
        """
        return (str(record["text"]) for _, record in self._limited(_TEXT))

    def text_tokens(self, tokenizer: PreTrainedTokenizerBase) -> TokenSequences:
        """Return the token ids of each text; errors are those of :meth:`texts`."""
        return stored(self._identity("texts", tokenizer), lambda: _encoded(self.texts(), tokenizer))

    def record_tokens(self, tokenizer: PreTrainedTokenizerBase) -> TokenSequences:
        """Return the token ids of prompt and completion of each record, by turns; errors are those of :meth:`texts`.

        A record has ``prompt`` and ``completion``, or ``messages``, the last of which is the completion; the
        tokenizer's chat template words these.

        Raises:
            ConfigurationError: There are messages, and the tokenizer has no chat template.
        """
        return stored(self._identity("records", tokenizer), lambda: self._divided(tokenizer))

    def _divided(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[Sequence[int]]:
        for place, record in self._limited(_RECORD, alternative=_CONVERSATION):
            if isinstance(record.get(_CONVERSATION), list):
                yield from _conversation(record[_CONVERSATION], place, tokenizer)
            else:
                yield from _pair(record["prompt"], record["completion"], tokenizer)

    def _limited(self, needed: tuple[str, ...], alternative: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        if self.dataset is not None:
            found = _dataset_records(self.dataset, self._dataset_folder, self.subset, self.split)
        else:
            found = (record for pattern in self.files for record in _records(pattern, self.folder, needed))
        return ((place, _checked(record, place, needed, alternative)) for place, record in islice(found, self.limit))

    @property
    def _dataset_folder(self) -> Path | None:
        folder = self.folder / Path(self.dataset or "").expanduser()
        return folder if self.dataset and folder.is_dir() else None

    def _identity(self, kind: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        return {
            "kind": kind,
            "contents": self._contents(),
            "installation": sys.version if INSTALLATION in self.files else None,
            "dataset": [self.dataset, self.subset, self.split],
            "limit": self.limit,
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "chat_template": getattr(tokenizer, "chat_template", None),
        }

    def _contents(self) -> list[tuple[str, str]]:
        """Return what the name of each file says of it, and the checksum of what is in it."""
        folder = self._dataset_folder
        if folder is None:
            patterns = [pattern for pattern in self.files if pattern != INSTALLATION]
            paths = [path for pattern in patterns for path in _matching(pattern, self.folder)]
            return [(path.suffix, file_checksum(path)) for path in paths]
        # In a data set names say which split a file belongs to.
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(path.relative_to(folder).as_posix(), file_checksum(path)) for path in paths]


def _encoded(texts: Iterator[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    while some := list(islice(texts, _TEXTS_AT_ONCE)):
        yield from tokenizer(some, add_special_tokens=False, verbose=False).input_ids


def _pair(prompt: str, completion: str, tokenizer: PreTrainedTokenizerBase) -> tuple[Sequence[int], Sequence[int]]:
    start, whole = _encoded(iter((prompt, prompt + completion)), tokenizer)
    return start, _continued(start, whole, completion, tokenizer)


def _continued(
    prompt: Sequence[int], whole: Sequence[int], completion: str, tokenizer: PreTrainedTokenizerBase
) -> Sequence[int]:
    """Return the tokens by which a completion goes on from its prompt, of which both together have ``whole``."""
    if whole[: len(prompt)] == prompt:
        # Alone, some tokenizers would put a space in front of it.
        return whole[len(prompt) :]
    # A token has parts of both, but a prompt that waits for its answer is read without it.
    [alone] = _encoded(iter((completion,)), tokenizer)
    return alone


def _conversation(
    messages: list[Any], place: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[Sequence[int], Sequence[int]]:
    """Divide a conversation before its last message."""
    if len(messages) < 2 or not all(isinstance(message, dict) for message in messages):
        raise InputError(f"{place} has no conversation: two or more messages with `role` and `content` are needed.")
    try:
        prompt = worded_conversation(messages[:-1], tokenizer)
        whole = worded_conversation(messages, tokenizer, is_answered=True)
        start = conversation_text(messages[:-1], tokenizer)
        text = conversation_text(messages, tokenizer, is_answered=True)
    except InputError as error:
        raise InputError(f"{place} has a conversation that cannot be worded: {error}") from error
    if not text.startswith(start):
        raise InputError(
            f"{place} has a conversation that the chat template words otherwise once it is answered: "
            f"use `prompt` and `completion` in place of messages."
        )
    return prompt, _continued(prompt, whole, text.removeprefix(start), tokenizer)


def _matching(pattern: str, folder: Path) -> list[Path]:
    path = Path(pattern).expanduser()
    root, relative = (
        (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (folder, pattern)
    )
    try:
        found = sorted(match for match in root.glob(relative) if match.is_file())
    except ValueError as error:
        raise InputError(f"{pattern!r} in `files` of the data source matches no names of files: {error}.") from error
    if not found:
        cure = f"It is a folder: write '{relative}/**/*.txt' or the like" if (root / relative).is_dir() else "Check it"
        raise InputError(f"No file matches {pattern!r} (looked in {root}). {cure} in `files` of the data source.")
    return found


def _records(pattern: str, folder: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what files hold, each record with the words for its place."""
    if pattern == INSTALLATION:
        yield from ((INSTALLATION, {"text": text}) for text in installation_texts("train"))
        return
    for path in _matching(pattern, folder):
        if path.suffix.lower() == ".parquet":
            yield from _parquet_records(path)
        elif path.suffix.lower() == ".jsonl" or needed != _TEXT:
            yield from _json_records(path)
        else:
            yield str(path), {"text": text_of(path)}


def _json_records(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            yield (place := f"{path}, line {number},"), _from_json(line, place)


def _from_json(line: str, place: str) -> Any:
    try:
        record = json.loads(line)
        # Escapes can stand for half a character, which no tokenizer takes.
        if "\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not JSON: {error}.") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{place} has an escape for half a character (a lone surrogate), which is no text.") from error
    return record


def _parquet_records(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow: pip install 'focusllm[data]'.") from error
    try:
        rows = (row for batch in ParquetFile(path).iter_batches() for row in batch.to_pylist())
        yield from ((f"{path}, row {number},", row) for number, row in enumerate(rows, start=1))
    except ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from error


def _dataset_records(name: str, folder: Path | None, subset: str | None, split: str) -> Iterator[tuple[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingDependencyError("Data sets need datasets: pip install 'focusllm[data]'.") from error
    place, revision = (str(folder), None) if folder else split_revision(name)
    try:
        rows: Any = load_dataset(place, subset, split=split, streaming=True, revision=revision)
        yield from ((f"{name}, record {number},", row) for number, row in enumerate(rows, start=1))
    # Code in a data set, which is not run, is a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"The data set {name!r} ({split}) cannot be read: {error}") from error


def _checked(record: Any, place: str, needed: tuple[str, ...], alternative: str) -> dict[str, Any]:
    """Refuse a record that has neither texts by the needed names nor a list by the alternative one."""
    if isinstance(record, dict) and isinstance(record.get(alternative), list):
        return record
    missing = [name for name in needed if not isinstance(record, dict) or not isinstance(record.get(name), str)]
    if missing:
        instead = f", or a list in [{alternative!r}]" if alternative else ""
        raise InputError(f"{place} has no text in {missing}; each record needs {list(needed)}{instead}.")
    return record
