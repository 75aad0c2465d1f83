"""``focusllm convert``: weights under the names of the authors' code, as an adapter."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli import loading
from focusllm.cli.progress import ERRORS
from focusllm.errors import ConfigurationError


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors file, or a folder that holds some.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the adapter.")],
    model: loading.Model = None,
    chunk_length: loading.ChunkLength = None,
    dtype: loading.Dtype = "auto",
) -> None:
    """Make an adapter of a checkpoint with the weight names of the authors' code (beacon_q_proj and so on).

    Example: focusllm convert their-checkpoint --model base -o adapter
    """
    from focusllm.condensing.published import read_checkpoint

    if output.exists() and any(output.iterdir()):
        raise ConfigurationError(f"{output} is not empty; give another folder for the adapter.")
    weights = read_checkpoint(checkpoint)
    focus = loading.load_model(model, None, dtype, "cpu", None, chunk_length=chunk_length)
    focus.load_published_weights(weights)
    focus.save_adapter(output)
    ERRORS.print(
        f"{len(weights)} weights read; the adapter is in {output}/. Use it with --model and --adapter.",
        style="dim",
        highlight=False,
    )
