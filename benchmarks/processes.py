"""Compare asking about a long text in one process and in several that share its chunks, as the command does it."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import Figures, compare, real_tokens

# Processes, and threads of each.
WAYS = {"1 process of 1 thread": (1, 1), "1 process of 2 threads": (1, 2), "2 processes of 1 thread": (2, 1)}
COLUMNS = {
    "seconds": ("reading and answer, s", 1.0, 2),
    "peak_bytes": ("peak memory of a process, GB", 1e9, 2),
}


def ask(way: str, options: argparse.Namespace) -> Figures:
    """Ask a question by the command, in so many processes."""
    from focusllm import FocusModel

    processes, threads = WAYS[way]
    model = FocusModel.from_pretrained()
    assert model.tokenizer is not None
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(str(model.tokenizer.decode(real_tokens(model, options.tokens))), encoding="utf-8")
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(launch if processes > 1 else []), "-m", "focusllm", "ask", str(text)]
        asked = [*command, "What is the name of the author?", "--json", "--local-refresh", "cached"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    figures = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": figures["seconds"], "peak_bytes": float(figures["peak_memory_bytes"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=256_000)
    compare(parser, list(WAYS), ask, COLUMNS)
