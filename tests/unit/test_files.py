"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from focusllm.files import write_text


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "table.md"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(path, "text")
    assert caught.value.filename == str(path)
