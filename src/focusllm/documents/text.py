"""Reading what users call a document: text, source code, Markdown, HTML, PDF."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from io import BytesIO, TextIOWrapper
from os.path import exists, isdir
from pathlib import Path

from focusllm.errors import InputError, MissingDependencyError

# Pages of a PDF are told apart by the character made for it.
PAGE_BREAK = "\f"
# Some editors put it before a text to say how it is written; it is no part of it.
_BYTE_ORDER_MARK = "\ufeff"
# Elements whose content nobody sees, and those that start on a line of their own.
_HIDDEN = {"script", "style", "template", "noscript"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
    "table", "title", "tr", "ul",
}  # fmt: skip


def text_of(document: str | Path, name: str | None = None) -> str:
    """Return the text of a document: a string is the text itself, a path is a file that holds it.

    HTML files give the text people see, PDF files the text of their pages with a form feed between them; all other
    files are taken as they are.

    Args:
        document: The text or the path.
        name: What messages call it. A string that comes with a name is the text, whatever files there are.

    Raises:
        InputError: There is no such file, it cannot be read or is not text, or there is nothing in it; or a string
            without a name is that of a file, which is given as a path.
        MissingDependencyError: It is a PDF file, and pypdf is not installed.
    """
    if isinstance(document, str):
        if name is None:
            _check_is_no_name(document)
        text, name = document.removeprefix(_BYTE_ORDER_MARK), name or "The document"
    else:
        text, name = _text_of_file(document), name or str(document)
    if "\0" in text:
        raise InputError(f"{name!r} holds zero bytes, so it is not text; FocusLLM reads text files.")
    check_unicode(text, name)
    if not text.strip():
        raise InputError(f"{name} is empty: there is no text in it.")
    return text


def decoded(data: bytes, called: str) -> str:
    """Return the text that bytes say, in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        data: The bytes.
        called: What messages call where they come from.

    Raises:
        InputError: They are no text.
    """
    with _said_of(called):
        return TextIOWrapper(BytesIO(data), _encoding_of(data[:2])).read()


def readable(path: Path) -> Path | str:
    """Return a file's path, once it is known that it can be read, before anything that takes long.

    Of what can be read but once, such as a pipe, the text is returned.

    Raises:
        InputError: There is no such file, it is a folder, or it cannot be read; or a pipe holds no text.
    """
    with _said_of(_called(path)), path.open("rb") as data:
        return path if path.is_file() else decoded(data.read(), _called(path))


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a plain text, which need not fit memory; only line breaks end them, as JSON has it.

    Raises:
        InputError: There is no such file, it cannot be read or is not text, or there is nothing in it.
    """
    is_blank = True
    with _said_of(_called(path)):
        with path.open("rb") as data:
            encoding = _encoding_of(data.read(2))
        with path.open(encoding=encoding) as lines:
            for line in lines:
                is_blank = is_blank and not line.strip()
                yield line
    if is_blank:
        raise InputError(f"{path} is empty: there is no text in it.")


def _check_is_no_name(text: str) -> None:
    # A path in a string would be read as a text of one line. It is not opened either: whoever hands on texts of others
    # does not mean their words to choose files.
    if not exists(text):
        return
    kind, cure = ("folder", "load_document({0!r})") if isdir(text) else ("file", "Path({0!r})")
    raise InputError(
        f"{text!r} is the name of a {kind}, and a string is a document's text itself: give {cure.format(text)}."
    )


def check_unicode(text: str, name: str) -> None:
    """Check that a text can be turned into tokens: Python keeps bytes that are no text as halves of characters.

    Args:
        text: The text.
        name: What messages call it.

    Raises:
        InputError: It holds such halves (surrogates).
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} holds {text[error.start]!a} at character {error.start}, which is not Unicode text: read what it "
            f"comes from with its own encoding, or save it as UTF-8."
        ) from error


def _text_of_file(path: Path) -> str:
    with _said_of(_called(path)):
        return _READERS.get(path.suffix.lower(), _plain_text)(path)


def _called(path: Path) -> str:
    return repr(str(path))


@contextmanager
def _said_of(called: str) -> Iterator[None]:
    """Say what is wrong with a file that is read in the ``with`` block."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"There is no file {called}.") from error
    except IsADirectoryError as error:
        raise InputError(f"{called} is a folder; give the files to be read, or load it as a document.") from error
    except OSError as error:
        raise InputError(f"{called} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{called} is not text in UTF-8, or UTF-16 with a byte order mark ({error.reason}); save it as UTF-8."
        ) from error


def _plain_text(path: Path) -> str:
    return decoded(path.read_bytes(), _called(path))


def _encoding_of(start: bytes) -> str:
    """Tell how a text is written by its first two bytes; by either way a byte order mark is dropped."""
    return "utf-16" if start in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"


def _html_text(path: Path) -> str:
    parser = _VisibleText()
    parser.feed(_plain_text(path))
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


class _VisibleText(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(self._hidden - (tag in _HIDDEN), 0)
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # Line breaks of the source mean no more than spaces.
            self.parts.append(data.replace("\n", " "))


def _pdf_text(path: Path) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError as error:
        raise MissingDependencyError("Reading PDF files needs pypdf: pip install 'focusllm[docs]'.") from error
    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except (PyPdfError, DependencyError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a PDF file: {error}.") from error
    if not any(page.strip() for page in pages):
        raise InputError(f"{str(path)!r} holds no text: its pages are pictures. Recognize their text first (OCR).")
    return PAGE_BREAK.join(pages)


_READERS: dict[str, Callable[[Path], str]] = {".html": _html_text, ".htm": _html_text, ".pdf": _pdf_text}
