"""Train an adapter for a base of your own on your own texts, load it, and ask.

    python examples/own_adapter.py path-or-name "books/**/*.txt" runs/my-adapter --steps 2000

The same as a recipe for `focusllm train`, which has every setting: docs/training.md. If the run is cut, the same call
goes on from its newest checkpoint.
"""

import argparse
import tempfile
from pathlib import Path

import yaml

from focusllm import FocusModel
from focusllm.training.recipe import read_recipe
from focusllm.training.run import train


def recipe_of(options: argparse.Namespace) -> dict[str, object]:
    """Return the recipe: both losses of the paper, and facts hidden in the texts with questions about them."""
    texts = str(Path(options.texts).absolute())
    return {
        "base": options.base,
        "output": str(options.output.absolute()),
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


def main() -> None:
    """Train, load what was trained, and ask about one of the texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="Model of the Hub or folder; `bundled` for the one inside the package.")
    parser.add_argument("texts", help="Glob of text files.")
    parser.add_argument("output", type=Path, help="Folder of the adapter.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--chunk-length", type=int, default=512)
    parser.add_argument("--row-tokens", type=int, default=8192, help="Tokens of chunks in a step: memory and speed.")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe_of(options)))
        adapter = train(read_recipe(path))
    model = FocusModel.from_pretrained(options.base, adapter)
    text = "".join(path.read_text() for path in sorted(Path().glob(options.texts)))
    print(model.ask(text, "What is the name of the author?").text)


if __name__ == "__main__":
    main()
