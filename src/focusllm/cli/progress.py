"""Progress and timing of a reading, for people; both go to standard error."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from focusllm.evidence import Evidence

ERRORS = Console(stderr=True)


def say(text: str) -> None:
    """Tell the user something beside the output: in one line, and names of files as they are, brackets and all."""
    ERRORS.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def advice(is_shown: bool) -> Iterator[None]:
    """Have the library give no advice in the ``with`` block, unless it is to be shown."""
    logger = logging.getLogger("focusllm")
    level = logger.level
    logger.setLevel(level if is_shown else logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Times:
    """When the tokens of an answer came.

    Attributes:
        to_first_token: Seconds from the question to the first token.
        tokens_per_second: Tokens a second after the first one; ``None`` where there is no other.
    """

    to_first_token: float
    tokens_per_second: float | None


class Stopwatch:
    """A streamer that looks at the clock; the first thing a streamer is handed is the prompt.

    Args:
        inner: Another streamer, which is handed everything, too.
    """

    def __init__(self, inner: Any = None) -> None:
        self._inner = inner
        self._start = time.perf_counter()
        self._seconds: list[float] = []
        self.rounds: list[Times] = []

    def put(self, value: Any) -> None:
        """Take note of a token."""
        self._seconds.append(time.perf_counter() - self._start)
        if self._inner is not None:
            self._inner.put(value)

    def end(self) -> None:
        """Take note of the end of an answer; the next question starts here."""
        if self._inner is not None:
            self._inner.end()
        first, last, count = self._seconds[1], self._seconds[-1], len(self._seconds) - 1
        self.rounds.append(Times(first, (count - 1) / (last - first) if count > 1 else None))
        self._start, self._seconds = time.perf_counter(), []


def in_tiers(sizes: Mapping[str, int]) -> str:
    """Say how many bytes lie in which tier; nothing, where there are none."""
    places = {"device": "on the device", "cpu": "in CPU memory", "folder": "in a folder"}
    return ", ".join(f"{sizes[tier] / 1e6:,.0f} MB {place}" for tier, place in places.items() if sizes.get(tier))


class RunBar:
    """Moves a bar as samples are run; those that were there before count as no work, for they took no time.

    Args:
        bar: Where it is shown.
        total: The work of all samples.
        title: What stands before it.
    """

    def __init__(self, bar: Progress, total: int, title: str) -> None:
        self._bar, self._task, self._total = bar, bar.add_task(title, total=total), total

    def __call__(self, work: int, is_new: bool) -> None:
        """Take note of a sample."""
        if is_new:
            self._bar.advance(self._task, work)
        else:
            self._total -= work
            self._bar.update(self._task, total=self._total)


@contextmanager
def run_bar(total: int, title: str) -> Iterator[RunBar]:
    """Show on a terminal how much of a run is done."""
    # One sample may take minutes: by what the last seconds brought, nothing could be foretold.
    with Progress(console=ERRORS, transient=True, speed_estimate_period=3600) as bar:
        yield RunBar(bar, total, title)


class ReadingBar:
    """Moves a bar as tokens are read.

    Args:
        bar: The bar, with one task.
    """

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def __call__(self, read: int, total: int) -> None:
        """Show how many tokens have been read, of how many."""
        [task] = self._bar.tasks
        seconds = max(task.elapsed or 0.0, 1e-9)
        said = f"{read:,}/{total:,} tokens, {read / seconds:,.0f}/s"
        self._bar.update(task.id, completed=read, total=total, tokens=said)

    def close(self) -> None:
        """Take the bar away before its time, for something is to be printed."""
        self._bar.stop()


@contextmanager
def reading_bar(is_shown: bool = True, title: str = "Reading") -> Iterator[ReadingBar | None]:
    """Show on a terminal how many tokens have been read; gives the callback that moves the bar, or ``None``."""
    if not is_shown or not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[tokens]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=ERRORS, transient=True) as bar:
        bar.add_task(title, total=None, tokens="")
        yield ReadingBar(bar)


def described(span: "Evidence") -> str:
    """Return a piece of evidence as people read it: how much it counts, where it stands, what it says."""
    text = "".join(f"    {line}\n" for line in span.text.splitlines())
    place = f"token {span.first_token:,}" if span.first_line is None else f"line {span.first_line:,}"
    if span.first_page is not None:
        place = f"page {span.first_page:,}, {place}"
    return f"\n  {span.share:.0%}, {span.document} from {place}:\n{text}"
