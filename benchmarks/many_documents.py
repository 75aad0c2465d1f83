"""Compare a question about many short documents with one about a single document of the same text."""

import argparse
import random
from itertools import accumulate, pairwise

from side_by_side import Figures, compare, real_tokens, timed

WAYS = ("one document", "many documents", "chunk by chunk")
COLUMNS = {
    "first_token": ("question to first token, s", 1.0, 3),
    "each_next": ("each next token, s", 1.0, 3),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}
QUESTION = "What is the name of the author?"


def ask(way: str, options: argparse.Namespace) -> Figures:
    """Index documents and time a question about all of them."""
    from focusllm import FocusModel

    at_once = 1 if way == WAYS[2] else None
    model = FocusModel.from_pretrained(config={"local_refresh": "cached"}, max_parallel_chunks=at_once)
    rng = random.Random(0)
    lengths = [rng.randint(options.shortest, options.longest) for _ in range(options.documents)]
    token_ids = real_tokens(model, sum(lengths))
    parts = [token_ids[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]
    documents = [model.index(part) for part in ([token_ids] if way == WAYS[0] else parts)]
    count = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens, "stop_strings": ()}
    model.ask(documents, QUESTION, **count)
    return timed(lambda ticks: model.ask(documents, QUESTION, streamer=ticks, **count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--shortest", type=int, default=50, help="Tokens of a document, at least.")
    parser.add_argument("--longest", type=int, default=700, help="Tokens of a document, at most.")
    parser.add_argument("--new-tokens", type=int, default=8)
    compare(parser, WAYS, ask, COLUMNS)
