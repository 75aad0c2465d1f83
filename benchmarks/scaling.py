"""Time and memory of one question as the document grows, and the exponent by which the time does."""

import argparse
import math
import tempfile
import time
from typing import Any

from side_by_side import Figures, compare, real_tokens

LENGTHS = ("16000", "32000", "64000", "128000", "256000", "512000")
COLUMNS = {
    "read": ("reading, s", 1.0, 2),
    "first_token": ("question to first token, s", 1.0, 2),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}


def read_and_ask(way: str, options: argparse.Namespace) -> Figures:
    """Index a document of ``way`` tokens and ask one question about it."""
    from focusllm import FocusModel
    from focusllm.cache.memory import peak_bytes

    settings = {"chunk_length": options.chunk_length, "chunk_overlap": 0, "local_refresh": "cached"}
    model = FocusModel.from_pretrained(config=settings)
    token_ids = real_tokens(model, int(way))
    with tempfile.TemporaryDirectory() as folder:
        storing: dict[str, Any] = {"folder": folder + "/document", "device_budget": 0} if options.disk else {}
        started = time.perf_counter()
        document = model.index(token_ids, **storing)
        read = time.perf_counter() - started
        model.ask(document, "What is the name of the author?", max_new_tokens=1, stop_strings=())
        asked = time.perf_counter() - started - read
    return {"read": read, "first_token": asked, "peak_bytes": float(peak_bytes())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk-length", type=int, default=600, help="Longer than usual: 512,000 tokens are to fit.")
    parser.add_argument("--disk", action="store_true", help="Keep all chunks on disk.")
    medians = compare(parser, LENGTHS, read_and_ask, COLUMNS)
    ways = list(medians)
    growth = math.log(int(ways[-1]) / int(ways[0]))
    for name in ("read", "first_token"):
        exponent = math.log(medians[ways[-1]][name] / medians[ways[0]][name]) / growth
        print(f"\n{COLUMNS[name][0]}: exponent {exponent:.3f} from {ways[0]} to {ways[-1]} tokens")
