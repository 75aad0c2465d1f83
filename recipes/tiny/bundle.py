"""Put a trained base and its adapter into the package, in bfloat16."""

import argparse
import shutil
from pathlib import Path

import torch

from focusllm import FocusModel
from focusllm.bundled.model import ADAPTER_PATH, BASE_PATH


def bundle(base: Path, adapter: Path) -> None:
    """Write both to where the package looks for them, in place of what is there."""
    model = FocusModel.from_pretrained(base, adapter, dtype=torch.bfloat16)
    for folder in (BASE_PATH, ADAPTER_PATH):
        shutil.rmtree(folder, ignore_errors=True)
    model.detach().save_pretrained(BASE_PATH)
    assert model.tokenizer is not None
    model.tokenizer.save_pretrained(BASE_PATH)
    model.base.config._name_or_path = "bundled"
    model.save_adapter(ADAPTER_PATH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    options = parser.parse_args()
    bundle(options.base, options.adapter)
