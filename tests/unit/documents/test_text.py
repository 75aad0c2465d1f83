"""Files of several kinds give the text people see in them."""

import os
import sys
from pathlib import Path
from threading import Thread

import pytest
from pypdf.errors import DependencyError

from focusllm.documents.text import decoded, readable, text_of
from focusllm.errors import InputError, MissingDependencyError


def pdf_of(*pages: str) -> bytes:
    """Write a PDF file by hand: one line of text a page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        stream = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_pages_of_a_pdf_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of("The first page.", "The color is red."))
    assert [page.strip() for page in text_of(tmp_path / "a.pdf").split("\f")] == [
        "The first page.",
        "The color is red.",
    ]


def test_pdfs_without_text_or_sense_or_pypdf_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf_of("", ""))
    with pytest.raises(InputError, match="holds no text"):
        text_of(tmp_path / "scan.pdf")
    (tmp_path / "broken.pdf").write_bytes(b"not a pdf at all")
    with pytest.raises(InputError, match="cannot be read as a PDF"):
        text_of(tmp_path / "broken.pdf")
    with pytest.raises(InputError, match="There is no file"):
        text_of(tmp_path / "missing.pdf")
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(MissingDependencyError, match=r"focusllm\[docs\]"):
        text_of(tmp_path / "scan.pdf")


def test_a_pdf_that_another_package_is_needed_for_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs_more(_: object) -> str:
        raise DependencyError("cryptography is required for AES")

    (tmp_path / "a.pdf").write_bytes(pdf_of("The first page."))
    monkeypatch.setattr("pypdf.PageObject.extract_text", needs_more)
    with pytest.raises(InputError, match="cryptography is required"):
        text_of(tmp_path / "a.pdf")


def test_html_gives_what_people_see(tmp_path: Path) -> None:
    page = """<html><head><title>A title</title><style>p {color: red}</style>
    <script>if (1 < 2) { hide("this") }</script></head>
    <body><h1>Hello &amp; welcome</h1><p>One
    sentence with <b>bold</b>words.</p><ul><li>first<li>second</ul>
    <table><tr><td>a</td><td>b</td></tr></table></body>"""
    (tmp_path / "a.HTML").write_text(page)
    assert text_of(tmp_path / "a.HTML").splitlines() == [
        "A title", "Hello & welcome", "One sentence with boldwords.", "first", "second", "a b",
    ]  # fmt: skip


def test_other_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\n<b>not parsed</b>\n")
    assert text_of(tmp_path / "a.md") == "# Title\n\n<b>not parsed</b>\n"
    assert text_of("<p>a string is the text itself</p>") == "<p>a string is the text itself</p>"


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    for name, written, wanted in (("a.txt", "a\ufeffb", "a\ufeffb"), ("a.html", "<p>One</p>", "One\n")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + written.encode())
        assert text_of(tmp_path / name) == wanted
    # As standard input has it.
    assert text_of("\ufeffOne") == "One"
    (tmp_path / "empty.txt").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(InputError, match="is empty"):
        text_of(tmp_path / "empty.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_line_breaks_and_marks_of_other_systems_change_nothing(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("One\r\n二\r🌄\n".encode(encoding))
    assert text_of(tmp_path / "a.txt") == "One\n二\n🌄\n"
    (tmp_path / "a.txt").write_bytes("One".encode("utf-16")[:-1])
    with pytest.raises(InputError, match=r"is not text in UTF-8.*\(truncated data\); save it as UTF-8"):
        text_of(tmp_path / "a.txt")


def test_what_can_be_read_once_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The color is red.")
    assert readable(tmp_path / "a.txt") == tmp_path / "a.txt"
    with pytest.raises(InputError, match=r"There is no file '.*missing.txt'"):
        readable(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="is a folder"):
        readable(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_pipe_is_a_text(tmp_path: Path, encoding: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=["The color is 赤.\r\n".encode(encoding)], daemon=True)
    writer.start()
    assert readable(pipe) == "The color is 赤.\n"
    writer.join(timeout=10)
    assert not writer.is_alive()


def test_bytes_of_no_text_say_where_they_come_from() -> None:
    with pytest.raises(InputError, match=r"^Standard input is not text in UTF-8, or UTF-16 with a byte order mark"):
        decoded(b"caf\xe9", "Standard input")


def test_bytes_that_are_no_text_are_refused_where_python_let_them_pass() -> None:
    with pytest.raises(InputError, match=r"The document holds '\\udce9' at character 3, which is not Unicode text"):
        text_of("caf\udce9 noir")


def test_the_name_of_a_file_is_not_taken_for_a_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("The color is red.")
    with pytest.raises(InputError, match=r"is the name of a file.* give Path\("):
        text_of(str(tmp_path / "book.txt"))
    with pytest.raises(InputError, match=r"is the name of a folder.* give load_document\("):
        text_of(str(tmp_path))
    # What is no name, or too long for one, is text.
    assert text_of(str(tmp_path / "other.txt")) == str(tmp_path / "other.txt")
    assert text_of("a/b " * 5000) == "a/b " * 5000
