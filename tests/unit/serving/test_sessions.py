"""The documents of a server: read once, kept where it is asked to, and nowhere else."""

from pathlib import Path

import pytest

from focusllm import FocusModel
from focusllm.errors import DocumentError, InputError, WindowError
from focusllm.serving.refusal import RefusalError
from focusllm.serving.sessions import Sessions, id_of, kept_folders

TEXT = "a text of many words. " * 15


def test_documents_are_kept_in_folders_that_the_server_names(model: FocusModel, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert kept_folders(folder) == []
    sessions = Sessions(model, folder)
    read = sessions.read(TEXT, "Größe")
    drawn = sessions.read(TEXT, None)
    assert [path.name for path in sorted(folder.iterdir())] == [path.name for path in kept_folders(folder)]
    assert not any("Gr" in path.name for path in folder.iterdir())
    later = Sessions(model, folder)
    for path in kept_folders(folder):
        later.load(path)
    assert {one.document.name for one in later.all()} == {"Größe", drawn.document.name}
    assert later.get("Größe").document.text == TEXT
    wanted = model.ask(read.document, "why?", max_new_tokens=3)
    assert model.ask(later.get("Größe").document, "why?", max_new_tokens=3).token_ids == wanted.token_ids  # type: ignore[union-attr]
    later.remove("Größe")
    assert len(kept_folders(folder)) == 1
    with pytest.raises(RefusalError, match="There is no document"):
        later.get("Größe")


def test_what_is_not_the_server_s_own_is_left_where_it_is(model: FocusModel, tmp_path: Path) -> None:
    document = model.index(TEXT, tmp_path / "mine")
    sessions = Sessions(model, tmp_path / "kept")
    sessions.put(document, "mine")
    sessions.remove("mine")
    assert (tmp_path / "mine" / "manifest.json").exists()
    # Somebody's folder among those that are kept is none of the server's.
    model.index(TEXT, tmp_path / "kept" / "theirs")
    assert kept_folders(tmp_path / "kept") == []


def test_of_a_reading_that_fails_nothing_is_left(model: FocusModel, tmp_path: Path) -> None:
    sessions = Sessions(model, tmp_path)

    def stop(read: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sessions.read(TEXT, "novel", stop)
    for wrong, error in (("", InputError), ("a\0b", InputError), ("x" * 12 * 260, WindowError)):
        with pytest.raises(error):
            sessions.read(wrong, "novel")
    assert (list(tmp_path.iterdir()), sessions.all()) == ([], [])


def test_an_id_is_one_document_s(model: FocusModel) -> None:
    sessions = Sessions(model)
    sessions.read(TEXT, "novel")
    with pytest.raises(RefusalError, match="There is a document 'novel' already") as error:
        sessions.read("another text", "novel")
    assert error.value.status == 409
    assert sessions.get("novel").document.text == TEXT


def test_a_folder_of_somebody_else_s_making_has_no_id(model: FocusModel, tmp_path: Path) -> None:
    model.index(TEXT, tmp_path / ("0" * 16), name="a name/with a path")
    [folder] = kept_folders(tmp_path)
    with pytest.raises(DocumentError, match="holds a document called 'a name/with a path'"):
        Sessions(model, tmp_path).load(folder)


def test_a_text_that_is_the_name_of_a_file_is_a_text(
    model: FocusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("who is where")
    assert Sessions(model).read("secret", None).document.text == "secret"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("book.txt", "book"), ("a/My Book (2019).txt", "My-Book-2019-"), ("v1.2.txt", "v1.2"), ("書.txt", "書"),
        ("Gro\u0308ße.md", "Größe"), (".profile", "profile"), ("-x.txt", "x"), ("x" * 200, "x" * 128),
    ],
)  # fmt: skip
def test_files_have_their_names_as_ids(path: str, name: str) -> None:
    assert id_of(Path(path)) == name


def test_a_file_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="which is no id: rename it"):
        id_of(Path("!!!.txt"))
