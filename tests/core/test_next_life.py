"""A manager that is started again: nothing of its earlier life gets in the way."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.core.support import give, our_log, reached, run_process, say, wait_until
from wsgi_async import AsyncioLoopManager, loop_resource
from wsgi_async.core.jobs import observers
from wsgi_async.core.life import hooks, lifecycle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wsgi_async.core.jobs.job import Job


def test_a_start_that_failed_ends_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that its `on_start` held up closes its own loop, and leaves the next one alone."""
    go_on, held, threads = threading.Event(), [True], list[threading.Thread]()

    def on_start() -> None:
        threads.append(threading.current_thread())
        if held:
            held.clear()
            reached(go_on)

    manager = AsyncioLoopManager("late", on_start=on_start, grace=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(hooks, "_START_TIMEOUT", 0.05)
        patch.setattr(lifecycle, "STOP_TIMEOUT", 0.05)
        with pytest.raises(TimeoutError):
            manager.start()
    with manager:
        loop = manager.get_event_loop()
        go_on.set()
        threads[0].join(20)
        assert not threads[0].is_alive()
        assert manager.run(give("works")) == "works"
        assert not loop.is_closed()
    assert loop.is_closed()


def exit_in_the_second_life() -> None:
    @loop_resource
    async def resource() -> AsyncIterator[int]:
        yield 1
        say("closed")

    manager = AsyncioLoopManager(on_stop=lambda: say("on_stop"))
    manager.start()
    busy, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        go_on.wait()

    manager.get_event_loop().call_soon_threadsafe(hold)
    busy.wait()
    manager.stop(timeout=0.05)
    go_on.set()
    wait_until(lambda: manager.state == "stopped", "it is not stopped")
    say("again")
    manager.start()
    manager.run(resource())


def test_a_stop_that_was_given_up_once() -> None:
    """The process's end cleans up the next life as it would the first."""
    out, err, status = run_process(exit_in_the_second_life)
    assert (out.split(), status) == (["on_stop", "again", "on_stop", "closed"], 0)
    assert "did not stop in time" in err  # the first time


class Slow:
    """An observer that takes its time, as any thread may where another one goes on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def call_done(self, job: Job) -> None: ...

    def cut_off(self, name: str) -> None: ...

    def wakeup_lost(self) -> None: ...

    def stopped(self) -> None:
        reached(self.go_on)


def test_a_start_before_its_stop_has_returned(caplog: pytest.LogCaptureFixture) -> None:
    """The stop ends with its own life, and does not wait for the next one."""
    slow = Slow()
    manager = AsyncioLoopManager()
    manager.start()
    observers.add(slow)
    try:
        stopping = threading.Thread(target=manager.stop)
        stopping.start()
        wait_until(lambda: manager.state == "stopped", "it is not stopped")
        manager.start()
        slow.go_on.set()
        stopping.join(5)  # a stop has ten seconds
        assert not stopping.is_alive()
        assert manager.run(give("works")) == "works"
    finally:
        slow.go_on.set()
        manager.stop()
        observers.remove(slow)
    assert our_log(caplog) == []


def test_a_start_that_fails_after_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    """What it has opened is closed in order: the time of the earlier stop does not count."""
    closed = []

    @loop_resource
    async def resource() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.01)
        closed.append("in order")

    failing = False

    async def on_start() -> None:
        await resource()
        if failing:
            raise ValueError("no")

    manager = AsyncioLoopManager(on_start=on_start)
    manager.start()
    before = time.monotonic()
    manager.stop(timeout=0.5)
    wait_until(lambda: time.monotonic() > before + 0.5, "the time of the stop is not over")
    failing = True
    with pytest.raises(ValueError, match="no"):
        manager.start()
    assert closed == ["in order"] * 2
    assert our_log(caplog) == []
