"""``focusllm lm-eval``: lm-evaluation-harness with the model ``focusllm``."""

from typing import Annotated

import typer

from focusllm.cli.processes import check_alone


def lm_eval(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENT", help="Whatever the command lm-eval takes.")
    ] = None,
) -> None:
    """Run lm-evaluation-harness with a model called focusllm; all arguments are those of lm-eval.

    Example: focusllm lm-eval --model focusllm --model_args base=BASE,adapter=ADAPTER --tasks lambada_openai
    """
    check_alone()
    from focusllm.evaluation.harness import run_harness

    run_harness(arguments or [])
