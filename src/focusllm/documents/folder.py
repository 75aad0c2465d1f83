"""Documents on disk: a manifest and shards of keys and values. Source: ours.

``manifest.json`` says what the document is, what its keys and values were made with, and which shard holds
which chunks, with a checksum of each file and of itself. It is replaced as a whole after every new shard, so
that whatever is cut short goes on from there. A shard is read whole and checked before anything of it is used.
Keys and values tell as much as the text itself: only the owner may read the files.
"""

import re
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from focusllm.cache.chunks import ChunkBatch, ChunkCache
from focusllm.cache.homes import LayerTensors
from focusllm.chunking import cut_into_chunks, pieces
from focusllm.documents.document import FocusDocument, Identity
from focusllm.documents.manifest import MANIFEST_NAME, OWNER_ONLY, Manifest, Shard, read_manifest, write_manifest
from focusllm.documents.shards import shard_tensors, states_of
from focusllm.documents.spilling import Spilled, SpillFile
from focusllm.errors import DamageError, DocumentError
from focusllm.files import checksum, held, write_bytes

TOKENS_NAME = "tokens.safetensors"
TEXT_NAME = "text.txt"
# Of a shard, about: enough for a disk to be busy, few enough for processes to share a document's shards among them.
_SHARD_BYTES = 64 * 2**20
# Names of a document's files, and of the beginnings of them that a run leaves behind when it is cut.
_NAMES = rf"({re.escape(MANIFEST_NAME)}|{re.escape(TOKENS_NAME)}|{re.escape(TEXT_NAME)}|shard-\d+-\d+\.safetensors)"
_OURS = re.compile(rf"{_NAMES}|\.{_NAMES}\..+")
_CURE = "`focusllm index --repair` reads anew what is damaged or missing; the rest is kept."


@dataclass(frozen=True)
class ShardHome:
    """The keys and values of a batch of chunks, in files.

    Attributes:
        folder: Where the files are.
        shards: What the manifest says of them.
        spill: Takes what comes behind the chunks.
    """

    folder: Path
    shards: Sequence[Shard]
    spill: SpillFile

    def parts(self) -> Iterator[LayerTensors]:
        """Read and check the shards, one after the other.

        Raises:
            DocumentError: A shard is missing or damaged.
        """
        for shard in self.shards:
            yield states_of(load(_checked_bytes(self.folder / shard.file, shard.checksum)))

    def num_bytes(self) -> int:
        """Return how many bytes the files take."""
        return sum(shard.num_bytes for shard in self.shards)

    def beside(self, layers: LayerTensors) -> Spilled:
        """Keep what came behind the chunks on disk, too."""
        return self.spill.put(layers)


class DocumentFolder:
    """Writes a document's chunks into a folder, and takes up what is there already.

    Args:
        path: The folder, which is there; see :func:`written_folder`.
        document: The document.

    Raises:
        DocumentError: The folder holds something else.
    """

    def __init__(self, path: str | Path, document: FocusDocument) -> None:
        self._path = Path(path)
        self._document = document
        self._spill = SpillFile(self._path)
        kept = self._kept_batches()
        text = None if document.text is None else document.text.encode("utf-8")
        tokens_checksum = _write_checked(self._path / TOKENS_NAME, save(_token_tensors(document)))
        text_checksum = None if text is None else _write_checked(self._path / TEXT_NAME, text)
        self._manifest = Manifest(
            document.name,
            document.identity,
            document.chunk_length,
            document.chunk_overlap,
            document.num_tokens,
            tokens_checksum,
            text_checksum,
            kept,
        )
        write_manifest(self._path, self._manifest)

    @property
    def known(self) -> set[tuple[int, int]]:
        """The chunks that are in the folder, as places of document 0."""
        return {(0, number) for number in self._manifest.numbers()}

    def batches(self) -> list[ChunkBatch]:
        """Return the batches that are in the folder, away until they are needed."""
        return _batches(self._path, self._manifest, {shard.file for shard in self._manifest.shards()}, self._spill)

    def write(self, batch: ChunkBatch) -> ShardHome:
        """Write a batch of chunks and return where it can be had from."""
        shards = [self._write_shard(batch, rows.start, rows.stop) for rows in _shard_rows(batch)]
        self._manifest.batches.append(shards)
        write_manifest(self._path, self._manifest)
        return ShardHome(self._path, shards, self._spill)

    def finish(self) -> None:
        """Remove files that nothing refers to: shards of an earlier text, and what runs that were cut left behind."""
        needed = {shard.file for shard in self._manifest.shards()}
        needed |= {MANIFEST_NAME, TOKENS_NAME} | ({TEXT_NAME} if self._document.text is not None else set())
        for file in self._path.iterdir():
            if _OURS.fullmatch(file.name) and file.name not in needed:
                file.unlink()

    def _kept_batches(self) -> list[list[Shard]]:
        """Return the shards of an earlier run whose chunks the document still has."""
        manifest = self._manifest_before()
        if manifest is None:
            self._check_holds_nothing_else()
            return []
        try:
            tokens = _read_tokens(self._path, manifest)[0]
        except DamageError:
            # Which chunks the shards hold cannot be told any more: all are read again.
            return []
        wanted = self._document
        if _kind(manifest) != _kind(wanted):
            raise DocumentError(
                f"{self._path} was indexed with {_kind(manifest)}; now it would be {_kind(wanted)}. "
                f"Give another folder."
            )
        before = cut_into_chunks(tokens, manifest.chunk_length, manifest.chunk_overlap)
        now = wanted.chunks

        def holds(shard: Shard) -> bool:
            is_same = all(n < len(now) and list(before[n]) == list(now[n]) for n in shard.numbers)
            return is_same and _is_whole(self._path / shard.file, shard.checksum)

        return [batch for batch in manifest.batches if all(map(holds, batch))]

    def _manifest_before(self) -> Manifest | None:
        try:
            return read_manifest(self._path) if (self._path / MANIFEST_NAME).exists() else None
        except DamageError:
            return None

    def _check_holds_nothing_else(self) -> None:
        """Refuse a folder of something else; what is left of a run that was cut, or damaged, is ours."""
        names = {file.name for file in self._path.iterdir()}
        # Tokens are written first: a text or a manifest that stands without them is somebody's own.
        is_begun = TOKENS_NAME in names or not names & {TEXT_NAME, MANIFEST_NAME}
        if not is_begun or not all(map(_OURS.fullmatch, names)):
            raise DocumentError(f"{self._path} is not empty and holds no document. Give another folder.")

    def _write_shard(self, batch: ChunkBatch, start: int, end: int) -> Shard:
        numbers = [number for _, number in batch.rows[start:end]]
        data = save(shard_tensors(batch, start, end))
        path = self._path / f"shard-{numbers[0]:07d}-{len(numbers)}.safetensors"
        return Shard(path.name, _write_checked(path, data), numbers, batch.num_own, len(data))


@contextmanager
def written_folder(path: str | Path, document: FocusDocument) -> Iterator[DocumentFolder]:
    """Give a document's folder to be written in the ``with`` block, by nobody else meanwhile.

    Raises:
        DocumentError: The folder holds something else, or is being written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise DocumentError(f"{path} is a file. Give a folder, or the name of one that is to be made.")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(path) as is_ours:
        if not is_ours:
            raise DocumentError(f"{path} is being written by somebody else. Wait for them, or give another folder.")
        folder = DocumentFolder(path, document)
        yield folder
        folder.finish()


def load_folder(
    path: str | Path, identity: Identity, own: Callable[[Sequence[Shard]], Sequence[Shard]] = lambda shards: shards
) -> FocusDocument:
    """Load a document; its keys and values are read when they are needed.

    Args:
        path: The folder.
        identity: What the keys and values must have been made with.
        own: Of all shards, picks those whose chunks this process needs.

    Raises:
        DocumentError: The folder is incomplete or damaged, or was made with another model.
    """
    path = Path(path)
    document, manifest = _opened(path, identity)
    missing = document.num_chunks - len(manifest.numbers())
    if missing:
        raise DocumentError(f"{path} lacks {missing} of {document.num_chunks} chunks: indexing was cut short. {_CURE}")
    wanted = {shard.file for shard in own(manifest.shards())}
    document.cache = ChunkCache(_batches(path, manifest, wanted, SpillFile(path)))
    return document


def reopen_folder(path: str | Path, identity: Identity) -> FocusDocument:
    """Take a document's text and tokens from its folder, to be indexed into it again.

    Raises:
        DocumentError: The manifest, the tokens or the text are damaged, or were made with another model.
    """
    try:
        return _opened(Path(path), identity)[0]
    except DamageError as error:
        raise DocumentError(
            f"{path} lacks what it would be repaired from: index the text into it again. {error}"
        ) from error


def _opened(path: Path, identity: Identity) -> tuple[FocusDocument, Manifest]:
    manifest = read_manifest(path)
    if manifest.identity != identity:
        raise DocumentError(
            f"{path} was indexed with {manifest.identity}; this model has {identity}. "
            f"Load it with the model and the dtype it was made with, or index the text again."
        )
    token_ids, starts = _read_tokens(path, manifest)
    text = None
    if manifest.text_checksum is not None:
        text = _checked_bytes(path / TEXT_NAME, manifest.text_checksum).decode("utf-8")
    cut = (manifest.chunk_length, manifest.chunk_overlap)
    return FocusDocument(manifest.name, token_ids, *cut, identity, text, starts), manifest


def _kind(of: Manifest | FocusDocument) -> str:
    return f"{of.identity}, chunks of {of.chunk_length} that overlap by {of.chunk_overlap}"


def _batches(path: Path, manifest: Manifest, wanted: Container[str], spill: SpillFile) -> list[ChunkBatch]:
    batches = []
    for batch in manifest.batches:
        if shards := [shard for shard in batch if shard.file in wanted]:
            rows = [(0, number) for shard in shards for number in shard.numbers]
            batches.append(ChunkBatch(rows, num_own=shards[0].length, home=ShardHome(path, shards, spill)))
    return batches


def _token_tensors(document: FocusDocument) -> dict[str, Tensor]:
    return {
        "token_ids": torch.tensor(document.token_ids, dtype=torch.int32),
        "starts": torch.tensor(document.starts, dtype=torch.int64),
    }


def _write_checked(path: Path, data: bytes) -> str:
    """Write a file that only the owner may read, and return its checksum."""
    write_bytes(path, data, OWNER_ONLY)
    return checksum(data)


def _read_tokens(path: Path, manifest: Manifest) -> tuple[list[int], list[int]]:
    tensors = load(_checked_bytes(path / TOKENS_NAME, manifest.tokens_checksum))
    return tensors["token_ids"].tolist(), tensors["starts"].tolist()


def _checked_bytes(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamageError(f"{path} cannot be read ({error.strerror}). {_CURE}") from error
    if checksum(data) != expected:
        raise DamageError(f"{path} is damaged: its checksum does not hold. {_CURE}")
    return data


def _is_whole(path: Path, expected: str) -> bool:
    try:
        _checked_bytes(path, expected)
    except DamageError:
        return False
    return True


def _shard_rows(batch: ChunkBatch) -> list[slice]:
    """Cut a batch into runs of rows that are not too large for one file."""
    num_rows = len(batch.rows)
    at_once = max(_SHARD_BYTES * num_rows // batch.num_bytes_kept(), 1)
    return pieces(num_rows, at_once)
