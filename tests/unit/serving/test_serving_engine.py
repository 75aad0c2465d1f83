"""Turns: who waits, who is turned away, and what becomes of work that nobody waits for."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from threading import Event
from typing import Any

import pytest

from focusllm.errors import InputError
from focusllm.serving.engine import ServingEngine, Task
from focusllm.serving.refusal import RefusalError

_SECONDS = 20


def run(story: Callable[[ServingEngine], Coroutine[Any, Any, None]], max_waiting: int = 1) -> None:
    """Tell a story of an engine, which must end."""
    engine = ServingEngine(max_waiting)
    try:
        asyncio.run(asyncio.wait_for(story(engine), _SECONDS))
    finally:
        engine.close()


def held(begun: Event, free: Event) -> Callable[[Task[str]], str]:
    """Return work that goes on until it is let free or left."""

    def work(task: Task[str]) -> str:
        begun.set()
        while not free.wait(0.005):
            task.check()
        return "done"

    return work


async def until(event: Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.005)


def test_one_works_while_others_wait_and_further_ones_are_turned_away() -> None:
    async def story(engine: ServingEngine) -> None:
        begun, free, second = Event(), Event(), Event()
        first, other = engine.submit(held(begun, free)), engine.submit(held(second, free))
        await until(begun)
        with pytest.raises(RefusalError, match="one request at a time, and 1 are waiting") as error:
            engine.submit(held(Event(), free))
        assert error.value.status == 429
        assert int(error.value.headers["Retry-After"]) > 0
        assert not second.is_set()
        free.set()
        assert [await first.result(), await other.result()] == ["done", "done"]
        assert await engine.submit(held(Event(), free)).result() == "done"

    run(story)


def test_who_leaves_while_waiting_makes_room_and_is_never_begun() -> None:
    async def story(engine: ServingEngine) -> None:
        begun, free, never = Event(), Event(), Event()
        first, waiting = engine.submit(held(begun, free)), engine.submit(held(never, free))
        await until(begun)
        waiting.leave()
        third = engine.submit(held(Event(), free))
        free.set()
        assert [await first.result(), await third.result()] == ["done", "done"]
        assert not never.is_set()

    run(story)


def test_work_that_nobody_waits_for_ends() -> None:
    async def story(engine: ServingEngine) -> None:
        begun = Event()
        task = engine.submit(held(begun, Event()))
        await until(begun)
        task.leave()
        assert await engine.submit(lambda task: "next").result() == "next"

    run(story, max_waiting=1)


def test_pieces_come_while_the_work_goes_on() -> None:
    async def story(engine: ServingEngine) -> None:
        heard = Event()

        def work(task: Task[int]) -> int:
            task.say("one")
            assert heard.wait(_SECONDS)
            task.say("two")
            return 2

        task, found = engine.submit(work), []
        async for piece in task.pieces():
            found.append(piece)
            heard.set()
        assert (found, await task.result()) == (["one", "two"], 2)

    run(story)


def test_the_library_s_errors_are_handed_on_and_others_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: Exception) -> Callable[[Task[str]], str]:
        def work(task: Task[str]) -> str:
            raise error

        return work

    async def story(engine: ServingEngine) -> None:
        with pytest.raises(InputError, match="The document is empty"):
            await engine.submit(fail(InputError("The document is empty."))).result()
        assert not caplog.records
        with pytest.raises(RefusalError, match="The server failed at this request") as error:
            await engine.submit(fail(ZeroDivisionError("secret"))).result()
        assert (error.value.status, "secret" in str(error.value)) == (500, False)
        assert "secret" in caplog.text

    with caplog.at_level(logging.ERROR):
        run(story)


def test_a_server_that_stops_ends_what_works_and_what_waits() -> None:
    async def story(engine: ServingEngine) -> None:
        begun = Event()
        tasks = [engine.submit(held(begun, Event())), engine.submit(held(Event(), Event()))]
        await until(begun)
        engine.close()
        for task in tasks:
            with pytest.raises(RefusalError, match="The server is stopping") as error:
                await task.result()
            assert error.value.status == 503
        with pytest.raises(RefusalError, match="The server is stopping"):
            engine.submit(held(Event(), Event()))

    run(story)
