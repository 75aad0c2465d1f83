"""``focusllm models``: which architectures are supported."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from focusllm.errors import ConfigurationError


def models(
    names: bool = typer.Option(False, "--names", help="Print only the names of the supported ones, one per line."),
    check: str | None = typer.Option(
        None,
        "--check",
        metavar="PATH_OR_ID",
        help="Find out whether a model (a folder, owner/name or owner/name@revision) can be used, even if it is not "
        "listed.",
    ),
) -> None:
    """List the architectures that can be used, and why others cannot.

    They are listed by their model types in transformers. --check reads a model's
    configuration, builds a tiny random model of its kind, and tests reading,
    decoding and training with it against another computation of the method.
    Nothing but the configuration is downloaded.
    """
    from focusllm.condensing.family_table import FAMILIES, REFUSED

    if check is not None:
        if names:
            raise ConfigurationError("--names lists architectures, and --check tries one: give one of the two.")
        _check(check)
        return

    if names:
        for name in sorted(FAMILIES):
            typer.echo(name)
        return
    table = Table("model type", "grade", "projections", "what to know")
    for name in sorted(FAMILIES):
        family = FAMILIES[name]
        grade = "exact" if family.is_trainable else "inference only"
        table.add_row(name, grade, " ".join(family.projections.values()), family.note)
    for reason in dict.fromkeys(REFUSED.values()):
        members = ", ".join(name for name, why in REFUSED.items() if why == reason)
        table.add_row(members, "refused", "", reason)
    Console().print(table)
    typer.echo("exact: reading, decoding and training equal the method, computed in another way (tests/parity).")
    typer.echo("inference only: reading and decoding do; adapters cannot be trained yet.")
    typer.echo("What is not listed has not been tried: `focusllm models --check PATH_OR_ID` tries it.")


def _check(name: str) -> None:
    from focusllm.bundled.model import resolve_base
    from focusllm.checking.families import check_config
    from focusllm.condensing.bases import load_config
    from focusllm.condensing.family_table import FAMILIES

    found = check_config(load_config(resolve_base(name, Path())))
    reason = f": {found.reason}" if found.reason else ""
    typer.echo(f"{found.model_type}: {found.grade}{reason}")
    if found.grade != "refused" and found.model_type not in FAMILIES:
        typer.echo(f"It is not in the table yet. This row would do (condensing/family_table.py): {found.family}")
    if found.grade == "refused":
        raise typer.Exit(1)
