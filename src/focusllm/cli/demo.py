"""``focusllm demo``: one fact, hidden in 400,000 tokens of real text."""

import random
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from focusllm.cli import loading
from focusllm.cli.progress import reading_bar, say


def demo(
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens of the text; K for 1,024.")] = "400000",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the fact, its wording and its place.")] = 0,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Hide a fact in real text from this Python installation and ask the bundled model for it.

    For comparison, the same base model answers without FocusLLM, from as much of the end as its window holds.
    """
    import torch

    from focusllm.cache.memory import peak_bytes
    from focusllm.evaluation.baselines import TruncatedSystem
    from focusllm.evaluation.tasks.facts import Facts

    length = loading.parse_length(tokens)
    model = loading.load_model(None, None, dtype, device, None)
    task = Facts()
    depth = random.Random(f"demo/{seed}").random()
    sample = task.draw(model.encode, length, depth, f"demo/{seed}")
    out = Console()
    out.print(
        f"Hidden at {depth:.0%} of {length:,} tokens of real text (seed {seed}), to be read by a model whose window "
        f"is {model.window:,}:\n  [bold]{sample.statements[0]}[/bold]\n[bold]{sample.question}[/bold]",
        highlight=False,
    )
    ids = torch.tensor([sample.prompt_ids], device=model.device)
    started = time.perf_counter()
    with reading_bar() as bar:
        new = model.generate(
            ids, max_new_tokens=task.max_new_tokens, stop_strings=model.config.answer_stops, progress=bar
        )
    focus_seconds = time.perf_counter() - started
    focus_text = _first_line(model.tokenizer.decode(new[0, ids.shape[1] :]))  # type: ignore[union-attr]
    base_started = time.perf_counter()
    base_ids = TruncatedSystem(model).continue_ids(sample.prompt_ids, task.max_new_tokens)
    base_text = _first_line(model.tokenizer.decode(base_ids))  # type: ignore[union-attr]
    table = Table("", "answer", "right?", "seconds", "tokens seen")
    rows = (
        ("FocusLLM", focus_text, focus_seconds, length),
        ("the base alone, end of the text", base_text, time.perf_counter() - base_started, min(length, model.window)),
    )
    for name, text, seconds, seen in rows:
        is_right = "yes" if task.score(text, sample) == 1 else "no"
        table.add_row(name, escape(text), is_right, f"{seconds:.1f}", f"{seen:,}")
    out.print(table)
    say(f"Peak memory {peak_bytes() / 1e9:.2f} GB. Another --seed hides another fact.")


def _first_line(text: object) -> str:
    return str(text).strip().split("\n")[0]
