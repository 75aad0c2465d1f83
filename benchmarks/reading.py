"""Compare ways of reading one long document: time to the first token, to each next one, and peak memory."""

import argparse
from typing import Any

from side_by_side import Figures, compare, timed

WAYS: dict[str, dict[str, Any]] = {
    "recompute (paper)": {"local_refresh": "recompute"},
    "cached local": {"local_refresh": "cached"},
    "cached local and candidates once": {"local_refresh": "cached", "candidate_refresh": 0},
    "recompute with one chunk at a time": {"local_refresh": "recompute", "max_parallel_chunks": 1},
    "recompute in float32": {"local_refresh": "recompute", "dtype": "float32"},
}
COLUMNS = {
    "first_token": ("to first token, s", 1.0, 2),
    "each_next": ("each next, s", 1.0, 3),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}


def read_once(way: str, options: argparse.Namespace) -> Figures:
    """Read a document and decode some tokens."""
    import torch

    from focusllm import FocusModel
    from focusllm.evaluation.tasks.passkey import Passkey

    settings = dict(WAYS[way])
    dtype, at_once = settings.pop("dtype", "auto"), settings.pop("max_parallel_chunks", None)
    model = FocusModel.from_pretrained(config=settings, dtype=dtype, max_parallel_chunks=at_once)
    ids = torch.tensor([Passkey().draw(model.encode, options.tokens, 0.5, "bench").prompt_ids])
    count: dict[str, Any] = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
    return timed(lambda ticks: model.generate(ids, streamer=ticks, **count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64_000)
    parser.add_argument("--new-tokens", type=int, default=6)
    compare(parser, list(WAYS), read_once, COLUMNS)
