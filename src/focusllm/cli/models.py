"""``focusllm models``: which architectures are supported."""

import typer
from rich.console import Console
from rich.table import Table


def models(
    names: bool = typer.Option(False, "--names", help="Print the model types alone, one a line."),
) -> None:
    """List architectures, by the names transformers has for them: those that can be used, and why others cannot."""
    from focusllm.condensing.family_table import FAMILIES, REFUSED

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
