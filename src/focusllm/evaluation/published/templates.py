"""Filling a benchmark's own templates, and moving what they say before the text behind it."""

import re
from collections.abc import Mapping

from focusllm.errors import InputError

_BRACES = re.compile(r"\{(\w+)\}")
_DOLLARS = re.compile(r"\$(\w+)\$")
CONTEXT = "{context}"


def filled(template: str, values: Mapping[str, str], in_dollars: bool = False) -> str:
    """Put values where a template names them; what the values hold is left as it is.

    Args:
        template: A text with ``{name}``, or ``$name$``, where values go.
        values: The values.
        in_dollars: Whether names stand between dollars.

    Raises:
        InputError: It names a value there is not.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InputError(
                f"A template of the benchmark asks for {match[0]}; a sample has {', '.join(values)}. Use the prompt "
                f"files of the benchmark's own repository."
            )
        return values[match[1]]

    return (_DOLLARS if in_dollars else _BRACES).sub(value_of, template)


def instruction_behind(template: str, anchor: str = CONTEXT, without_next: bool = False) -> str:
    """Move the instruction before the text behind it, as the FocusLLM authors' templates have it.

    The instruction is what stands before the last paragraph that leads to ``{context}``: a heading of the text, such as
    "Report:", stays where it is. Source: the authors' code.

    Args:
        template: The benchmark's template.
        anchor: The placeholder behind which the instruction goes.
        without_next: Whether the paragraph that follows the text is left out.

    Raises:
        InputError: The template has no such placeholders.
    """
    if CONTEXT not in template or anchor not in template:
        raise InputError(f"A template of the benchmark must hold {CONTEXT} and {anchor}; got {template!r:.80}.")
    before, context, behind = template.partition(CONTEXT)
    instruction, _, heading = before.rpartition("\n\n")
    if not instruction:
        instruction, heading = heading, ""
    between = ""
    if anchor != CONTEXT:
        head, found, behind = behind.partition(anchor)
        between = head + found
    if without_next:
        behind = "\n\n" + behind.removeprefix("\n\n").partition("\n\n")[2]
    gap = "\n\n" if instruction else ""
    return f"{heading}{context}{between}{gap}{instruction}{behind}"
