"""Where training text comes from: files, data sets in the format of Hugging Face, the Python installation."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from focusllm.bundled.text import installation_texts
from focusllm.condensing.bases import tokenizer_fingerprint
from focusllm.documents.text import text_of
from focusllm.errors import InputError, MissingDependencyError
from focusllm.files import file_checksum
from focusllm.questions import worded_conversation
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
        return (str(record["text"]) for record in self._limited(_TEXT))

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

    def _divided(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
        for record in self._limited(_RECORD, alternative=_CONVERSATION):
            if isinstance(record.get(_CONVERSATION), list):
                yield from _conversation(record[_CONVERSATION], tokenizer)
            else:
                yield from _encoded(iter([record[name] for name in _RECORD]), tokenizer)

    def _limited(self, needed: tuple[str, ...], alternative: str = "") -> Iterator[dict[str, Any]]:
        if self.dataset is not None:
            found = _dataset_records(self.dataset, self._dataset_folder, self.subset, self.split)
        else:
            found = (record for pattern in self.files for record in _records(pattern, self.folder, needed))
        return (_checked(record, place, needed, alternative) for place, record in islice(found, self.limit))

    @property
    def _dataset_folder(self) -> Path | None:
        folder = self.folder / Path(self.dataset or "").expanduser()
        return folder if self.dataset and folder.is_dir() else None

    def _identity(self, kind: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        paths = [path for pattern in self.files if pattern != INSTALLATION for path in _matching(pattern, self.folder)]
        if self._dataset_folder is not None:
            paths = sorted(path for path in self._dataset_folder.rglob("*") if path.is_file())
        return {
            "kind": kind,
            "contents": [[path.suffix, file_checksum(path)] for path in paths],
            "installation": sys.version if INSTALLATION in self.files else None,
            "dataset": [self.dataset, self.subset, self.split],
            "limit": self.limit,
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "chat_template": getattr(tokenizer, "chat_template", None),
        }


def _encoded(texts: Iterator[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    while some := list(islice(texts, _TEXTS_AT_ONCE)):
        yield from tokenizer(some, add_special_tokens=False, verbose=False).input_ids


def _conversation(messages: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Divide a conversation before its last message."""
    prompt = worded_conversation(messages[:-1], tokenizer)
    whole = worded_conversation(messages, tokenizer, is_answered=True)
    if whole[: len(prompt)] != prompt:
        raise InputError("The chat template words a conversation otherwise once it is answered: use `prompt` instead.")
    return prompt, whole[len(prompt) :]


def _matching(pattern: str, folder: Path) -> list[Path]:
    path = Path(pattern).expanduser()
    root, relative = (
        (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (folder, pattern)
    )
    found = sorted(match for match in root.glob(relative) if match.is_file())
    if not found:
        raise InputError(f"No file matches {pattern!r} (looked in {root}). Check `files` of the data source.")
    return found


def _records(pattern: str, folder: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what files hold, each record with the words for its place."""
    if pattern == INSTALLATION:
        yield from ((INSTALLATION, {"text": text}) for text in installation_texts("train"))
        return
    for path in _matching(pattern, folder):
        if path.suffix == ".parquet":
            yield from _parquet_records(path)
        elif path.suffix == ".jsonl" or needed != _TEXT:
            yield from _json_records(path)
        else:
            yield str(path), {"text": text_of(path)}


def _json_records(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            try:
                yield f"{path}, line {number},", json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}, is not JSON: {error}.") from error


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
    try:
        rows: Any = load_dataset(str(folder or name), subset, split=split, streaming=True)
        yield from ((f"{name}, record {number},", row) for number, row in enumerate(rows, start=1))
    except (OSError, ValueError) as error:
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
