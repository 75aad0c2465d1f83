"""The command ``focusllm``: one sub-command a file; mistakes of use end in one sentence, never in a traceback."""

import logging
import os
import sys
from io import StringIO, TextIOWrapper
from typing import Any

import typer
from typer.core import TyperGroup

from focusllm import __version__
from focusllm.cli import (
    ablate,
    ask,
    chat,
    convert,
    demo,
    estimate,
    evaluate,
    harness,
    index,
    models,
    perplexity,
    report,
    serve,
    train,
)
from focusllm.errors import FocusError

# Exit status of a command that was ended by Ctrl-C, as shells have it.
_INTERRUPTED = 130
# Measurements with options of their own: commands that may be named behind `eval`, where people look for them.
_MEASUREMENTS = ("ablate", "perplexity")


class _Commands(TyperGroup):
    """The commands by name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is meant."""
        is_measurement = args[0] == "eval" and args[1:2] and args[1] in _MEASUREMENTS
        return super().resolve_command(ctx, args[1:] if is_measurement else args)


app = typer.Typer(
    name="focusllm",
    cls=_Commands,
    help="Read documents far longer than a language model's window.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("index")(index.index)
app.command("serve")(serve.serve)
app.command("estimate")(estimate.estimate)
app.command("demo")(demo.demo)
app.command("eval")(evaluate.evaluate)
# Not even --help is ours.
app.command("lm-eval", context_settings={"ignore_unknown_options": True, "help_option_names": []})(harness.lm_eval)
app.command("perplexity")(perplexity.perplexity)
app.command("report")(report.report)
app.command("train")(train.train)
app.command("ablate")(ablate.ablate)
app.command("convert")(convert.convert)
app.command("models")(models.models)


def _print_version(is_asked: bool | None) -> None:
    if is_asked:
        typer.echo(f"focusllm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool | None = typer.Option(
        None, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Read documents far longer than a language model's window."""


def _settle_streams() -> None:
    """Have all standard streams, closed ones as empty ones, and lose no output to a character that cannot be shown."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, StringIO())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line."""
    _settle_streams()
    # Loading messages of the libraries below would stand between the user and the answer.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # torchao and bitsandbytes, where they are installed, speak when imported of kernels that are not there.
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # Started by `python -m`, it would be called so in messages and scripts for shells.
        app(prog_name="focusllm")
    except FocusError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        # What the system refuses: a full disk, a folder that may not be written. Files are whole or not there.
        place = "" if error.filename is None else f"{str(error.filename)!r}: "
        print(f"Error: {place}{error.strerror or error}.", file=sys.stderr)
        raise SystemExit(1) from None
    except SystemExit as end:
        # What typer makes of an interruption.
        if end.code == _INTERRUPTED:
            print("Interrupted.", file=sys.stderr)
        raise
