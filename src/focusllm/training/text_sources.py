"""Training samples from users' own data: running text, and records with a prompt and a completion."""

import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from focusllm.bundled.text import installation_texts
from focusllm.chunking import cut_into_chunks
from focusllm.documents.text import text_of
from focusllm.errors import InputError, TrainingError
from focusllm.questions import worded_conversation
from focusllm.training.examples import Draws, Sample

_LOG = logging.getLogger(__name__)
Encode = Callable[[str], list[int]]
Loss = Literal["continuation", "reconstruction"]
# The standard library's own text, as a place among files; the share bundled models may be trained on.
INSTALLATION = "installation:train"


class TextSource:
    """Draws samples of running text. Source: paper, section 2.3.

    ``"continuation"``: the local context follows the memory. ``"reconstruction"``: the local context is a run
    of tokens out of the memory, so that the model learns to bring back what it has read.

    Args:
        documents: Token ids of each document.
        loss: Which of the two.
        max_supervised: Most positions supervised in a sample; each has a candidate of every chunk of its own.
    """

    def __init__(self, documents: Sequence[Sequence[int]], loss: Loss, max_supervised: int = 16) -> None:
        self._documents = [document for document in documents if len(document) >= 8]
        _report_left_out(len(documents) - len(self._documents), len(documents), "documents of fewer than 8 tokens")
        if not self._documents:
            raise TrainingError("No document of the text source has 8 tokens or more: there is nothing to train on.")
        self._sizes = [len(document) for document in self._documents]
        self._loss = loss
        self._max_supervised = max_supervised

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw a window of a document, longer documents more often."""
        document = rng.choices(self._documents, self._sizes)[0]
        local_length = 2 + draws.local_filler + rng.randint(8, 4 * self._max_supervised)
        local_length = min(local_length, len(document) // 2)
        memory_length = min(draws.memory_length, len(document) - local_length)
        start = rng.randint(0, len(document) - memory_length - local_length)
        memory = document[start : start + memory_length]
        after = start + memory_length
        if self._loss == "reconstruction" and memory_length > local_length:
            after = start + rng.randint(0, memory_length - local_length)
        local = document[after : after + local_length]
        supervised = rng.randint(1, min(self._max_supervised, local_length - 1))
        chunks = cut_into_chunks(memory, draws.chunk_length)
        return Sample(chunks, [True] * len(chunks), local, local_length - 1 - supervised, [1.0] * local_length)


class RecordSource:
    """Draws samples from records: the prompt is the memory but for its end, the completion is supervised.

    Args:
        records: Token ids of prompt and completion.
        max_supervised: Most tokens of a completion that are supervised at once; longer ones are entered later.
    """

    def __init__(self, records: Sequence[tuple[Sequence[int], Sequence[int]]], max_supervised: int = 16) -> None:
        self._records = [record for record in records if len(record[0]) >= 4 and record[1]]
        left_out = len(records) - len(self._records)
        _report_left_out(left_out, len(records), "records with a prompt of fewer than 4 tokens or no completion")
        if not self._records:
            raise TrainingError("No record has a prompt of 4 tokens or more and a completion.")
        self._max_supervised = max_supervised

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw a record; the local context starts somewhere in the end of its prompt."""
        prompt, completion = rng.choice(self._records)
        tail = min(len(prompt) // 2, 16 + draws.local_filler + rng.randint(0, 32))
        first = rng.randint(0, max(len(completion) - self._max_supervised, 0))
        last = min(first + self._max_supervised, len(completion))
        local = [*prompt[-tail:], *completion[:last]]
        # Whole memories are kept: a record is never cut to fit the draw.
        chunks = cut_into_chunks(prompt[:-tail], draws.chunk_length)
        return Sample(chunks, [True] * len(chunks), local, tail + first - 1, [1.0] * len(local))


def _report_left_out(count: int, total: int, what: str) -> None:
    if count:
        _LOG.warning("%d of %d sequences are left out: %s.", count, total, what)


def read_texts(patterns: Sequence[str], folder: Path) -> Iterator[str]:
    """Yield the texts of files, globs, JSONL files with ``text``, or of the Python installation.

    Raises:
        InputError: A pattern matches nothing, or a file is not text.
    """
    for pattern in patterns:
        if pattern == INSTALLATION:
            yield from installation_texts("train")
            continue
        for path in _matching(pattern, folder):
            if path.suffix == ".jsonl":
                yield from (str(record["text"]) for record in _records(path, ("text",)))
            else:
                yield text_of(path)


def read_records(
    patterns: Sequence[str], folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the tokens of prompt and completion of every record of JSONL files.

    A record has ``prompt`` and ``completion``, or ``messages``, the last of which is the completion; the tokenizer's
    chat template words these.

    Raises:
        InputError: A pattern matches nothing, a line is not JSON, or a record lacks what it needs.
        ConfigurationError: There are messages, and the tokenizer has no chat template.
    """

    def encoded(text: object) -> list[int]:
        return tokenizer(str(text), add_special_tokens=False, verbose=False).input_ids

    for pattern in patterns:
        for path in _matching(pattern, folder):
            for record in _records(path, ("prompt", "completion"), alternative="messages"):
                if "messages" in record:
                    yield _conversation(record["messages"], tokenizer)
                else:
                    yield encoded(record["prompt"]), encoded(record["completion"])


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


def _records(path: Path, needed: tuple[str, ...], alternative: str = "") -> Iterator[dict[str, Any]]:
    """Yield the records of a file; each has texts by the needed names, or a list by the alternative one."""
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}, is not JSON: {error}.") from error
        if isinstance(record, dict) and isinstance(record.get(alternative), list):
            yield record
            continue
        missing = [name for name in needed if not isinstance(record, dict) or not isinstance(record.get(name), str)]
        if missing:
            instead = f", or a list in [{alternative!r}]" if alternative else ""
            raise InputError(
                f"{path}, line {number}, has no text in {missing}; each record needs {list(needed)}{instead}."
            )
        yield record
