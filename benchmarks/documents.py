"""Compare a second question on a document that was read before with reading the document again."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import Figures, compare, real_tokens, timed

WAYS = (
    "text given with each question",
    "indexed",
    "folder at hand",
    "folder on disk",
    "folder on disk and candidates once",
)
COLUMNS = {
    "first_token": ("second question to first token, s", 1.0, 3),
    "each_next": ("each next token, s", 1.0, 3),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}
QUESTIONS = ("What is the color of the door?", "What is the name of the author?")


def ask_twice(way: str, options: argparse.Namespace) -> Figures:
    """Ask two questions and time the second one."""
    from focusllm import FocusModel

    refresh = 0 if way.endswith("once") else 1
    model = FocusModel.from_pretrained(config={"local_refresh": "cached", "candidate_refresh": refresh})
    assert model.tokenizer is not None
    text = str(model.tokenizer.decode(real_tokens(model, options.tokens)))
    with tempfile.TemporaryDirectory() as folder:
        source: Any = text
        if way == "indexed":
            source = model.index(text)
        elif way.startswith("folder"):
            path = Path(folder) / "document"
            model.index(text, path, device_budget=0)
            source = model.load_document(path, device_budget=None if way.endswith("at hand") else 0)
        count: dict[str, Any] = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
        model.ask(source, QUESTIONS[0], stop_strings=(), **count)
        return timed(lambda ticks: model.ask(source, QUESTIONS[1], stop_strings=(), streamer=ticks, **count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128_000)
    parser.add_argument("--new-tokens", type=int, default=6)
    compare(parser, WAYS, ask_twice, COLUMNS)
