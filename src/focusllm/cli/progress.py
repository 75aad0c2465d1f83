"""Progress and timing of a reading, for people; both go to standard error."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ERRORS = Console(stderr=True)


class Stopwatch:
    """A streamer that only looks at the clock: it tells the first token from the others."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        """Take note of a token."""
        self.times.append(time.perf_counter() - self._start)

    def end(self) -> None:
        """Take no note of the end."""

    @property
    def seconds_to_first_token(self) -> float:
        """Seconds from the start to the first token."""
        return self.times[0] if self.times else 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second after the first one; ``None`` where there is no other."""
        if len(self.times) < 2:
            return None
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


@contextmanager
def reading_bar(is_shown: bool, title: str = "Reading") -> Iterator[Any]:
    """Show how many tokens have been read; gives the callback that moves the bar, or ``None``."""
    if not is_shown:
        yield None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[tokens]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=ERRORS, transient=True) as bar:
        task = bar.add_task(title, total=None, tokens="")

        def move(read: int, total: int) -> None:
            seconds = max(bar.tasks[0].elapsed or 0.0, 1e-9)
            bar.update(task, completed=read, total=total, tokens=f"{read:,}/{total:,} tokens, {read / seconds:,.0f}/s")

        yield move


def peak_memory_bytes() -> int:
    """Return the most memory this process has held: of the GPU where there is one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
