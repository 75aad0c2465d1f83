"""What a document's folder says of itself: ``manifest.json``. Source: ours."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from focusllm.documents.document import Identity
from focusllm.errors import DamageError, DocumentError
from focusllm.files import checksum, write_text

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
# Mode of every file of a document.
OWNER_ONLY = 0o600


@dataclass(frozen=True)
class Shard:
    """Some chunks of equal length in one file.

    Attributes:
        file: Its name.
        checksum: Of its bytes.
        numbers: Which chunks, in the order of the rows.
        length: Tokens of each row.
        num_bytes: Size of the file.
    """

    file: str
    checksum: str
    numbers: list[int]
    length: int
    num_bytes: int


@dataclass
class Manifest:
    """What ``manifest.json`` says; ``batches`` are groups of shards that go through the base together."""

    name: str
    identity: Identity
    chunk_length: int
    chunk_overlap: int
    num_tokens: int
    tokens_checksum: str
    text_checksum: str | None
    batches: list[list[Shard]] = field(default_factory=list)

    def numbers(self) -> set[int]:
        """Return the chunks that shards hold."""
        return {number for shard in self.shards() for number in shard.numbers}

    def shards(self) -> list[Shard]:
        """Return the shards of all batches, in order."""
        return [shard for batch in self.batches for shard in batch]


def read_manifest(path: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        DamageError: It is damaged.
        DocumentError: It is missing, or of another version.
    """
    file = path / MANIFEST_NAME
    if not file.is_file():
        raise DocumentError(f"No document in {str(path)!r}: {MANIFEST_NAME} is missing. Make one with focusllm index.")
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = record.pop("checksum")
        if found != checksum(_canonical(record)):
            raise DamageError(f"{file} is damaged: its checksum does not hold. Index the document again.")
        if (record.pop("format"), record.pop("format_version")) != ("focusllm-document", FORMAT_VERSION):
            raise DocumentError(
                f"{file} is of another version; this FocusLLM reads version {FORMAT_VERSION}. Index the text again, "
                f"into another folder."
            )
        record["identity"] = Identity(**record["identity"])
        record["batches"] = [[Shard(**shard) for shard in batch] for batch in record["batches"]]
        return Manifest(**record)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"{file} is damaged ({error}). Index the document again.") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace ``manifest.json`` as a whole."""
    record = {"format": "focusllm-document", "format_version": FORMAT_VERSION, **asdict(manifest)}
    record["checksum"] = checksum(_canonical(record))
    write_text(path / MANIFEST_NAME, json.dumps(record, indent=1) + "\n", OWNER_ONLY)


def _canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
