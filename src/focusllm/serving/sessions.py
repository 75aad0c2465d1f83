"""Documents that a server has read, by their ids. Source: ours.

Ids come from clients and are never paths: a document's folder has a name that the server draws.
"""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any
from unicodedata import normalize

from focusllm.decoding.engine import Progress
from focusllm.documents.document import FocusDocument
from focusllm.documents.manifest import MANIFEST_NAME
from focusllm.errors import DocumentError, InputError
from focusllm.model import FocusModel
from focusllm.serving.protocol import is_id
from focusllm.serving.refusal import RefusalError

_FOLDER = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Session:
    """A document that was read once, to be asked about often.

    Attributes:
        document: The document; its name is the id.
        folder: Where it is kept, if that is the server's own.
        created: When it got here, in seconds since 1970.
    """

    document: FocusDocument
    folder: Path | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def described(self) -> dict[str, Any]:
        """Return what clients are told of it."""
        return {
            "id": self.document.name,
            "object": "document",
            "created": self.created,
            "num_tokens": self.document.num_tokens,
            "num_chunks": self.document.num_chunks,
        }


class Sessions:
    """The documents of a server; they are changed in the engine's thread only, one change at a time.

    Args:
        model: What reads them.
        folder: Where documents that clients send are kept; ``None``: nowhere but in memory.
    """

    def __init__(self, model: FocusModel, folder: Path | None = None) -> None:
        self._model, self._folder = model, folder
        self._sessions: dict[str, Session] = {}

    def all(self) -> list[Session]:
        """Return all of them, in the order in which they came."""
        return list(self._sessions.values())

    def get(self, name: str) -> Session:
        """Return one.

        Raises:
            RefusalError: There is none by that id.
        """
        if name not in self._sessions:
            raise RefusalError(
                404, f"There is no document {name!a}. GET /v1/documents lists those that are there, POST adds one.",
                "documents", "document_not_found",
            )  # fmt: skip
        return self._sessions[name]

    def named(self, names: Sequence[str]) -> list[FocusDocument]:
        """Return the documents of some ids; see :meth:`get`."""
        return [self.get(name).document for name in names]

    def put(self, document: FocusDocument, name: str, folder: Path | None = None) -> Session:
        """Serve a document that has been read.

        Raises:
            RefusalError: Another one has this id.
        """
        self._check_is_new(name)
        document.name = name
        session = self._sessions[name] = Session(document, folder)
        return session

    def read(self, text: str, name: str | None, progress: Progress | None = None) -> Session:
        """Read a text that a client sent, and serve it.

        Args:
            text: The text.
            name: Its id; ``None`` draws one.
            progress: Called with the tokens read so far, and those to be read in all.

        Raises:
            RefusalError: Another document has this id.
            InputError: The text is empty, or no text.
            WindowError: It is so long that no question about it would fit the base's window.
        """
        name = name or f"document-{token_hex(8)}"
        self._check_is_new(name)
        folder = None if self._folder is None else self._folder / token_hex(8)
        try:
            document = self._model.index(text, folder, progress=progress, name=name)
        except BaseException:
            _remove(folder)
            raise
        return self.put(document, name, folder)

    def load(self, folder: Path) -> Session:
        """Serve a document that a server before this one has kept.

        Raises:
            DocumentError: It is damaged, was made with another model, or its name is no id or another one's.
        """
        document = self._model.load_document(folder)
        if not is_id(document.name):
            raise DocumentError(f"{folder} holds a document called {document.name!a}, which no server has given it.")
        return self.put(document, document.name, folder)

    def remove(self, name: str) -> None:
        """Forget a document, and remove what the server has kept of it; see :meth:`get`."""
        session = self.get(name)
        del self._sessions[name]
        _remove(session.folder)

    def _check_is_new(self, name: str) -> None:
        if name in self._sessions:
            raise RefusalError(
                409, f"There is a document {name!a} already: give another id, or DELETE that one first.", "id",
                "document_exists",
            )  # fmt: skip


def kept_folders(folder: Path) -> list[Path]:
    """Return the folders of documents that servers have kept in a folder, and make that folder if it is not there.

    Raises:
        InputError: It is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; documents are kept in a folder: give another name.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return sorted(path for path in folder.iterdir() if _FOLDER.fullmatch(path.name) and (path / MANIFEST_NAME).exists())


def id_of(path: Path) -> str:
    """Return the id of a file that is served: its name without suffix, with hyphens for what ids do not have.

    Raises:
        InputError: Nothing is left of the name.
    """
    name = re.sub(r"[^\w.-]+", "-", normalize("NFC", path.stem)).lstrip(".-")[:128]
    if not is_id(name):
        raise InputError(f"{str(path)!r} has a name without letters and digits, which is no id: rename it.")
    return name


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
