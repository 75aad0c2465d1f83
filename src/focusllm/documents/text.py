"""Reading what users call a document."""

from pathlib import Path

from focusllm.errors import InputError


def text_of(document: str | Path) -> str:
    """Return the text of a document: a string is the text itself, a path is a file that holds it.

    Raises:
        InputError: There is no such file, it is not text, or there is nothing in it.
    """
    if isinstance(document, str):
        text, name = document, "The document"
    else:
        name = str(document)
        try:
            text = document.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError(f"There is no file {name!r}.") from error
        except IsADirectoryError as error:
            raise InputError(f"{name!r} is a folder; give the files to be read, or load it as a document.") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{name!r} is not UTF-8 text ({error.reason}); FocusLLM reads text files.") from error
    if "\0" in text:
        raise InputError(f"{name!r} holds zero bytes, so it is not text; FocusLLM reads text files.")
    if not text.strip():
        raise InputError(f"{name} is empty: there is nothing to ask about.")
    return text
