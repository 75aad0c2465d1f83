"""Train an adapter for a base of your own on your own texts, load it, and ask.

    python examples/own_adapter.py path-or-name "books/**/*.txt" runs/my-adapter --steps 2000

A recipe for `focusllm train` does the same and has every setting; see docs/training.md. If the run is interrupted, the
same call resumes from its newest checkpoint.
"""

import argparse
from pathlib import Path

from focusllm import FocusModel
from focusllm.training.recipe import Recipe
from focusllm.training.run import train


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe: both losses of the paper, and facts hidden in the texts with questions about them."""
    texts = options.texts
    settings = {
        "base": options.base,
        "output": options.output,
        "steps": options.steps,
        "start": "copy",
        "focus": {"chunk_length": options.chunk_length, "local_length": 256, "dynamic_prompt_length": 64},
        "draws": {"chunk_lengths": [64, 128, 256], "row_tokens": options.row_tokens, "max_chunks": 64},
        "data": [
            {"kind": "facts", "files": texts, "share": 8},
            {"kind": "continuation", "files": texts, "share": 1},
            {"kind": "reconstruction", "files": texts, "share": 1},
        ],
        "arguments": {"learning_rate": 1.0e-3, "warmup_steps": min(50, options.steps)},
    }
    return Recipe.from_dict(settings)


def main() -> None:
    """Train, load what was trained, and ask about one of the texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "base", help="Folder or name on the Hugging Face Hub, or `bundled` for the base inside the package."
    )
    parser.add_argument("texts", help="Text files, as a glob pattern.")
    parser.add_argument("output", type=Path, help="Folder to write the adapter to.")
    parser.add_argument("--steps", type=int, default=2000, help="Optimizer steps.")
    parser.add_argument("--chunk-length", type=int, default=512, help="Tokens per chunk.")
    parser.add_argument("--row-tokens", type=int, default=8192, help="Tokens of chunks per step.")
    options = parser.parse_args()

    adapter = train(recipe_of(options))
    model = FocusModel.from_pretrained(options.base, adapter)
    text = "".join(path.read_text() for path in sorted(Path().glob(options.texts)))
    print(model.ask(text, "What is the name of the author?").text)


if __name__ == "__main__":
    main()
