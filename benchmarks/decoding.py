"""Compare what each further token of an answer costs: full attention, the published way, and our refresh settings."""

import argparse
from typing import Any

from side_by_side import Figures, compare, timed

FULL, PUBLISHED = "full attention (transformers)", "published (one chunk at a time and local recomputed)"
WAYS: dict[str, dict[str, Any]] = {
    FULL: {},
    PUBLISHED: {"local_refresh": "recompute"},
    "recompute": {"local_refresh": "recompute"},
    "cached": {"local_refresh": "cached"},
    "cached and refresh 16": {"local_refresh": "cached", "candidate_refresh": 16},
    "cached and refresh 16 and focus 0.99": {"local_refresh": "cached", "candidate_refresh": 16, "focus_share": 0.99},
    "cached and refresh 16 and focus 0.9": {"local_refresh": "cached", "candidate_refresh": 16, "focus_share": 0.9},
    "cached and candidates once": {"local_refresh": "cached", "candidate_refresh": 0},
}
COLUMNS = {
    "each_next": ("each next token, s", 1.0, 4),
    "peak_bytes": ("peak memory, GB", 1e9, 2),
}


def model_of(name: str, settings: dict[str, Any], at_once: int | None) -> Any:
    """Return the bundled model, or a wider one of about 100M random weights with a window of 4,096."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from focusllm import FocusConfig, FocusModel

    if name == "bundled":
        return FocusModel.from_pretrained(config=settings, max_parallel_chunks=at_once)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    base = LlamaForCausalLM(config).to(torch.bfloat16)
    own = FocusConfig(chunk_length=2048, local_length=512, dynamic_prompt_length=128).changed(settings)
    return FocusModel(base, own, max_parallel_chunks=at_once).eval()


def ids_for(model: Any, num_tokens: int) -> Any:
    """Return a long text with a question, whose answer one chunk holds; random tokens for a model without tokenizer."""
    import torch

    from focusllm.evaluation.tasks.passkey import Passkey

    if model.tokenizer is None:
        return torch.randint(3, 2000, (1, num_tokens), generator=torch.Generator().manual_seed(0))
    return torch.tensor([Passkey().draw(model.encode, num_tokens, 0.5, "benchmark").prompt_ids])


def decode(way: str, options: argparse.Namespace) -> Figures:
    """Decode tokens behind a long text."""
    import torch
    from transformers.cache_utils import DynamicCache

    model = model_of(options.model, WAYS[way], 1 if way == PUBLISHED else None)
    ids = ids_for(model, options.tokens)
    count: dict[str, Any] = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
    if way != FULL:
        return timed(lambda ticks: model.generate(ids, streamer=ticks, **count))
    config = model.base.config
    shape = (1, config.num_key_value_heads, options.tokens - 1, config.head_dim)
    cache = DynamicCache()
    for layer in range(config.num_hidden_layers):
        # What is attended to costs the same whatever it is; positions beyond the window are as cheap as others.
        cache.update(*(torch.randn(shape, dtype=model.base.dtype) for _ in range(2)), layer)
    with model.disabled() as base:
        return timed(lambda ticks: base.generate(ids, past_key_values=cache, streamer=ticks, **count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("bundled", "wide"), default="bundled")
    parser.add_argument("--tokens", type=int, default=64_000)
    parser.add_argument("--new-tokens", type=int, default=33, help="The first one is not counted.")
    compare(parser, list(WAYS), decode, COLUMNS)
