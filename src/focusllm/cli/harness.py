"""``focusllm lm-eval``: lm-evaluation-harness with the model ``focusllm``."""

from typing import Annotated

import typer

from focusllm.cli.processes import check_alone


def lm_eval(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="Whatever the command lm-eval takes.")
    ] = None,
) -> None:
    """Run lm-evaluation-harness, which then knows the model focusllm; all arguments are handed on to lm-eval.

    Example: focusllm lm-eval --model focusllm --model_args base=BASE,adapter=ADAPTER --tasks lambada_openai
    """
    check_alone()
    from focusllm.evaluation.harness import run_harness

    run_harness(arguments or [])
