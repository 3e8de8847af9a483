"""In a process of its own: an exception hits the waiting main thread at every line of the core.

As a signal handler's does: KeyboardInterrupt, a soft time limit. The process prints how many
lines it has tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import linecache
import logging
from typing import TYPE_CHECKING, Any

from tests.core.support import say, wait_until
from tests.runners.parts import LIMIT, Plug, factory_of, make, value
from tests.runners.spies import AtLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from wsgi_async import AsyncioLoopManager


class Interrupt(BaseException):
    """What the signal handler raises."""


class AtSafeLine(AtLine):
    """Leaves out the way out of a `with`, where the interpreter looks for no signal.

    And destructors, which the collector runs at any line: what is raised there goes nowhere.
    """

    def __init__(self, line: int, action: Callable[[], None]) -> None:
        super().__init__(line, action)
        self.last: dict[FrameType, int] = {}

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        return None if frame.f_code.co_name == "__del__" else super().__call__(frame, event, arg)

    def line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            last, self.last[frame] = self.last.get(frame, 0), frame.f_lineno
            code = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if last > frame.f_lineno and code.strip().startswith("with "):
                return self.line
        return super().line(frame, event, arg)


class Job:
    """A coroutine that tells whether it was begun, and whether it has ended."""

    def __init__(self, *, endless: bool = False) -> None:
        self.open = 0
        self.endless = endless
        self.coro = self.walk()

    async def walk(self) -> str:
        self.open += 1
        try:
            await (asyncio.Event().wait() if self.endless else asyncio.sleep(0))
            return "done"
        finally:
            self.open -= 1


def run(manager: AsyncioLoopManager, job: Job) -> None:
    assert manager.run(job.coro) == "done"


def run_out_of_time(manager: AsyncioLoopManager, job: Job) -> None:
    with contextlib.suppress(TimeoutError):
        manager.run(job.coro, timeout=0.001)


def result(manager: AsyncioLoopManager, job: Job) -> None:
    assert manager.submit_task(job.coro).result() == "done"


def run_out_of_time_unbegun(manager: AsyncioLoopManager, job: Job) -> None:
    """The loop is held up, so the coroutine is still in the queue when its time is over.

    Where the cancellation itself is interrupted the thread waits for the loop, in vain.
    """
    plug = Plug()
    manager.get_event_loop().call_soon_threadsafe(plug)
    try:
        with contextlib.suppress(TimeoutError):
            manager.run(job.coro, timeout=0)
    finally:
        plug.pull()


def interrupt_at(line: int, manager: AsyncioLoopManager, wait: Callable[..., None]) -> bool:
    """One call that is interrupted; whether it has come by that line at all."""

    def interrupt() -> None:
        raise Interrupt

    job = Job(endless=wait in (run_out_of_time, run_out_of_time_unbegun))
    at = AtSafeLine(line, interrupt)
    try:
        at.during(lambda: wait(manager, job))
    except Interrupt:
        pass
    else:
        assert at.where is None, at.where
    try:
        # The task was waited for where its caller was the only one to ask for it.
        assert manager.run(value("next"), timeout=LIMIT) == "next"
        wait_until(lambda: "in_flight=0" in repr(manager), repr(manager))
        assert job.open == 0
    except BaseException as error:
        error.add_note(f"interrupted at {at.where}")
        raise
    job.coro.close()
    return at.where is not None


WAYS = {
    "run": run,
    "result": result,
    "timeout": run_out_of_time,
    "unbegun": run_out_of_time_unbegun,
}


def child(loop: str, way: str) -> None:
    """The main function of the process.

    Args:
        loop: The kind of loop.
        way: What the main thread waits in.
    """
    wait = WAYS[way]
    factory = factory_of(loop)
    if way == "unbegun":
        logging.getLogger("wsgi_async").setLevel(logging.ERROR)
    manager = make(None, loop_factory=factory, grace=0.01 if way == "unbegun" else LIMIT)
    lines = next(n for n in itertools.count(1) if not interrupt_at(n, manager, wait))
    manager.stop(LIMIT)
    say(f"{lines}")
