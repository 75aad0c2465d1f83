"""Threads that share a model, one after the other. Source: ours.

A pass changes things that belong to the model: how its base attends, which positions are candidates, what stands
behind the chunks of a document.
"""

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """Lets one thread at a time into a ``with`` block, and into those within it."""

    def __init__(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["Turns"], tuple[()]]:
        """Make a copy of a model wait for nobody but its own users."""
        return Turns, ()


class _TakesTurns(Protocol):
    turns: Turns


S = TypeVar("S", bound=_TakesTurns)


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a method of what has ``turns`` for one thread at a time."""

    @wraps(method)
    def alone(self: Any, *arguments: P.args, **options: P.kwargs) -> R:
        with self.turns:
            return method(self, *arguments, **options)

    return alone
