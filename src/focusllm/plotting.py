"""Figures, for those who installed matplotlib."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from focusllm.errors import MissingDependencyError
from focusllm.files import written_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure of so many inches, which needs no display.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("Drawing needs matplotlib: pip install 'focusllm[plot]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with written_atomically(path) as temporary, warnings.catch_warnings():
        # A character that the font lacks is drawn as a box, of which matplotlib warns once each.
        warnings.filterwarnings("ignore", message="Glyph ", category=UserWarning)
        figure.savefig(temporary, dpi=120, format="png")


def check_can_draw() -> None:
    """Check that there can be figures, before the work that is to end in one.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    new_figure(1, 1)
