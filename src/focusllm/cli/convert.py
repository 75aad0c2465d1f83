"""``focusllm convert``: adapters from and to formats of others."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from focusllm.cli import loading
from focusllm.cli.progress import say
from focusllm.errors import ConfigurationError


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Weights with the names of the paper's authors (a .safetensors file, or a folder of them), a PEFT "
            "LoRA folder, or, with --to peft, an adapter of FocusLLM's.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty.")],
    model: loading.Model = None,
    to: Annotated[Literal["focusllm", "peft"], typer.Option(help="The format to write.")] = "focusllm",
    chunk_length: loading.ChunkLength = None,
    dtype: loading.Dtype = "auto",
) -> None:
    """Convert an adapter from another format, or to PEFT's.

    In PEFT's format, a low-rank adapter is an activated LoRA: called with
    alora_offsets=[1] for every row, a PEFT model uses it for the last token alone.

    Example: focusllm convert their-checkpoint --model base -o adapter

    Example: focusllm convert adapter --model base --to peft -o lora
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"{output} is not an empty folder; give another for the adapter.")
    if to == "peft" and chunk_length is not None:
        raise ConfigurationError("--chunk-length would change nothing: PEFT's format knows no chunks. Leave it out.")
    if to == "peft":
        count = _to_peft(source, output, model, dtype)
        use = "Load it with peft.PeftModel.from_pretrained, and call the model with alora_offsets=[1] for every row."
    else:
        count = _to_focusllm(source, output, model, chunk_length, dtype)
        use = "Use it with --model and --adapter."
    say(f"{count} weights read; the adapter is in {output}/. {use}")


def _to_peft(source: Path, output: Path, model: str | None, dtype: str) -> int:
    from focusllm.condensing.bases import bos_token_id_of
    from focusllm.condensing.peft_files import save_as_peft

    focus = loading.load_model(model, source, dtype, "cpu", None)
    bos = bos_token_id_of(focus.base, focus.tokenizer)
    save_as_peft(output, focus.adapter, focus.config, focus.base, 0 if bos is None else bos)
    return len(focus.adapter.parameters())


def _to_focusllm(source: Path, output: Path, model: str | None, chunk_length: int | None, dtype: str) -> int:
    from focusllm import FocusConfig, FocusModel
    from focusllm.bundled.model import BUNDLED, resolve_base
    from focusllm.condensing.adapter_files import fill_parameters
    from focusllm.condensing.bases import load_base
    from focusllm.condensing.peft_files import is_peft, read_peft
    from focusllm.condensing.published import read_checkpoint

    if is_peft(source):
        base, tokenizer = load_base(resolve_base(model or BUNDLED, Path()), dtype)
        settings, weights = read_peft(source, base)
        if chunk_length is not None:
            settings["chunk_length"] = chunk_length
        focus = FocusModel(base, FocusConfig(**settings), tokenizer)
        fill_parameters(focus.adapter, weights, str(source))
    else:
        weights = read_checkpoint(source)
        focus = loading.load_model(model, None, dtype, "cpu", None, chunk_length=chunk_length)
        focus.load_published_weights(weights)
    focus.save_adapter(output)
    return len(weights)
