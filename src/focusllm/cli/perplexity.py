"""``focusllm perplexity``: how well a text's next tokens are predicted, by position."""

from pathlib import Path
from typing import Annotated

import typer

from focusllm.cli import loading
from focusllm.cli.progress import run_bar, say
from focusllm.errors import InputError


def perplexity(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Text files, taken as one text.", show_default="text of this Python"),
    ] = None,
    length: Annotated[
        str, typer.Option("--length", help="Tokens to score, from the start of the text; K for 1,024.")
    ] = "16K",
    stride: Annotated[int, typer.Option("--stride", help="Tokens that are scored in one pass.")] = 128,
    most_segments: Annotated[
        int | None,
        typer.Option(
            "--segments", help="Score at most so many segments between positions that double.", show_default="all"
        ),
    ] = None,
    by_base: Annotated[bool, typer.Option("--base", help="Score with the base alone, within its window.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results; an interrupted run in it resumes.")
    ] = Path("perplexity"),
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    local_length: loading.LocalLength = None,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
) -> None:
    """Measure perplexity over every token of a text, by position.

    Each token is predicted from the local context before it and the chunks before
    that; with --base, from as much as the base's window holds.

    The time grows with the square of the length: for long texts, have some
    segments scored only.

    Example: focusllm perplexity book.txt --length 64K --segments 20
    """
    from focusllm.bundled.text import installation_texts
    from focusllm.documents.text import text_of
    from focusllm.evaluation.perplexity import SEGMENTS_NAME, Perplexity, by_position, perplexity_table, run_perplexity
    from focusllm.files import write_text

    wanted = loading.parse_length(length)
    texts = [*map(text_of, files)] if files else installation_texts("evaluation")
    focus = loading.load_model(
        model, adapter, dtype, device, None,
        chunk_length=chunk_length, local_length=local_length, local_refresh="cached",
    )  # fmt: skip
    ids = focus.encode("\n".join(texts))[:wanted]
    if len(ids) < wanted:
        raise InputError(f"The text has {len(ids):,} tokens; --length asks for {wanted:,}. Give more files.")
    scored = Perplexity(focus, ids, stride, by_base, most_segments)
    with run_bar(len(scored.starts()), "Scoring") as bar:
        segments = run_perplexity(scored, output / SEGMENTS_NAME, lambda _, is_new: bar(1, is_new))
    table = perplexity_table(by_position(segments, focus.window))
    write_text(output / "table.md", table)
    typer.echo(table)
    say(f"Segments and table are in {output}/.")
