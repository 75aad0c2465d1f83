"""One model, one answer at a time: the thread in which the model works, and those who wait for it. Source: ours."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Generic, TypeVar

from focusllm.errors import FocusError
from focusllm.serving.refusal import RefusalError

T = TypeVar("T")
_LOGGER = logging.getLogger(__name__)
# Seconds after which a client that was turned away may ask again: a short answer's time.
_RETRY_AFTER = 5


class LeftError(Exception):
    """Raised within work that nobody waits for any more."""


class Task(Generic[T]):
    """Work that waits for its turn, is done in the engine's thread and awaited in an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces = asyncio.Queue[str | None]()
        self._has_left, self._is_over = Event(), False
        self._future: Future[T] | None = None

    def check(self) -> None:
        """End the work, which calls this often, where nobody waits for it.

        Raises:
            LeftError: Nobody does.
        """
        if self._has_left.is_set():
            raise LeftError

    def say(self, piece: str) -> None:
        """Hand a piece of the result to whom waits for it."""
        self._put(piece)

    def leave(self) -> None:
        """Have the work end, or never begin."""
        self._has_left.set()
        if self._future is not None:
            self._future.cancel()

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the pieces of the result until the work is over."""
        while not self._is_over:
            piece = await self._pieces.get()
            if piece is None:
                self._is_over = True
            else:
                yield piece

    async def result(self) -> T:
        """Wait for the work and return what it gives.

        Raises:
            FocusError: The work failed; of other errors than the library's no more is told than that.
        """
        async for _ in self.pieces():
            pass
        assert self._future is not None  # or it would not be over
        try:
            return self._future.result()
        except (CancelledError, LeftError):
            raise RefusalError(503, "The server is stopping. Ask again when it is back.") from None

    def start(self, future: "Future[T]") -> None:
        """Take the future that the work is done by."""
        self._future = future
        future.add_done_callback(lambda _: self._put(None))

    def _put(self, piece: str | None) -> None:
        # A loop that is closed has nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


class ServingEngine:
    """Does work in turns, in a thread of its own.

    Args:
        max_waiting: How many may wait while one is served; more are turned away.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="focusllm")
        self._present = set[Task]()
        self._is_closed = False

    def submit(self, work: Callable[[Task[T]], T]) -> Task[T]:
        """Have work done when its turn comes; called in an event loop.

        Raises:
            RefusalError: Too many wait already, or the server is stopping.
        """
        if self._is_closed:
            raise RefusalError(503, "The server is stopping. Ask again when it is back.")
        if len(self._present) > self._max_waiting:
            raise RefusalError(
                429, f"The server answers one request at a time, and {self._max_waiting} are waiting. Ask again later.",
                code="too_many_waiting", headers={"Retry-After": str(_RETRY_AFTER)},
            )  # fmt: skip
        task = Task[T]()
        self._present.add(task)
        future = self._thread.submit(_done, work, task)
        future.add_done_callback(lambda _: self._present.discard(task))
        task.start(future)
        return task

    def close(self) -> None:
        """End all work and take no more."""
        self._is_closed = True
        for task in list(self._present):
            task.leave()
        self._thread.shutdown(wait=False)


def _done(work: Callable[[Task[T]], T], task: Task[T]) -> T:
    task.check()
    try:
        return work(task)
    except (FocusError, LeftError):
        raise
    except Exception as error:
        _LOGGER.exception("A request failed.")
        raise RefusalError(500, "The server failed at this request; its log says how.") from error
