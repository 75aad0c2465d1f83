"""Compare indexing a document with the base's own forward pass over the same chunks in the same batches."""

import argparse
import time

from side_by_side import Figures, compare, real_tokens

WAYS = ("base's own forward", "index")
COLUMNS = {"seconds": ("seconds", 1.0, 2), "peak_bytes": ("peak memory, GB", 1e9, 2)}


def read_all(way: str, options: argparse.Namespace) -> Figures:
    """Read every chunk and keep its keys and values."""
    import torch
    from transformers.cache_utils import DynamicCache

    from focusllm import FocusModel
    from focusllm.cache.memory import peak_bytes

    model = FocusModel.from_pretrained(options.model, options.adapter)
    token_ids = real_tokens(model, options.tokens)
    document = model._reader.open(token_ids)
    blocks = [model._engine._chunk_block(chunk) for chunk in document.chunks]
    places = [(0, number) for number in range(len(blocks))]
    plans = list(model._engine.planner.plan([document.chunks], [model._reader._usual_prompt], places))
    kept = []
    # What runs first is slower.
    model.base.base_model(torch.tensor(blocks[:1]))
    started = time.perf_counter()
    if way == "index":
        model.index(token_ids)
    else:
        with model.disabled() as base, torch.no_grad():
            for plan in plans:
                rows = torch.tensor([blocks[number] for _, number in plan.places])
                for some in rows.split(plan.rows_at_once):
                    cache = DynamicCache()
                    base.base_model(some, past_key_values=cache)
                    kept.append(cache)
    return {"seconds": time.perf_counter() - started, "peak_bytes": float(peak_bytes())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64_000)
    parser.add_argument("--model", help="Base model. [default: the bundled one]")
    parser.add_argument("--adapter", help="Adapter folder. [default: the bundled one's]")
    compare(parser, WAYS, read_all, COLUMNS)
