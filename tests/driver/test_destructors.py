"""Destructors and user code that come by where the driver holds its mutex, or anywhere else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.conftest import needs_uvloop
from tests.driver.encounters import Encounter, at_every_line
from tests.driver.parts import FAR, LIMIT, Door, Worker, child, started, steps, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from tests.driver.conftest import Start
    from tests.driver.seams import SpySeam

    Factory = Callable[[], asyncio.AbstractEventLoop] | None

DRIVES = pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
BOTH = pytest.mark.parametrize("loop_factory", ["ours", "uvloop"], indirect=True)


class Garbage:
    """Calls something when it is collected."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call()


def collect(call: Callable[[], object]) -> None:
    """Have a destructor call something, here and now, as the garbage collector does."""
    Garbage(call)


def calls(encounter: Encounter) -> None:
    """What is interrupted: a call, a waiter that drives, and one that does not."""
    manager = encounter.manager
    assert manager.run(value("run")) == "run"
    future = manager.submit_task(value("sync future"), return_sync_future=True)
    assert future.result(LIMIT) == "sync future"
    assert manager.submit_task(value("future")).result(LIMIT) == "future"


@BOTH
@DRIVES
@pytest.mark.parametrize("in_keeper", [False, True])
@pytest.mark.parametrize("sync_future", [False, True])
def test_a_destructor_may_submit_work_anywhere(
    loop_factory: Factory, drive: str, in_keeper: bool, sync_future: bool
) -> None:
    """Wherever the collector interrupts us, what a __del__ submits is done and nobody hangs."""

    def body(encounter: Encounter) -> None:
        submitted: list[Any] = []

        def submit() -> None:
            submitted.append(encounter.manager.submit_task(steps(), sync_future))

        encounter.interrupt = lambda: collect(submit)
        encounter.call(calls, encounter)
        encounter.settle()
        for future in submitted:
            assert len(future.result(LIMIT)) == 5

    at_every_line(body, loop_factory, in_keeper=in_keeper, drive=drive)


@BOTH
@DRIVES
@pytest.mark.parametrize("in_keeper", [False, True])
def test_an_async_generator_may_be_collected_anywhere(
    loop_factory: Factory, drive: str, in_keeper: bool
) -> None:
    """Wherever an async generator is dropped, its finally block runs soon, on the loop."""

    def body(encounter: Encounter) -> None:
        ended: concurrent.futures.Future[bool] = concurrent.futures.Future()

        async def generate() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                ended.set_result(asyncio.get_running_loop() is loop)

        async def begin() -> None:
            begun.extend([await anext(generator) for generator in generators])

        def begin_and_call() -> None:
            encounter.manager.run(begin())
            calls(encounter)

        begun: list[int] = []
        loop = encounter.manager.get_event_loop()
        generators = [generate()]
        encounter.interrupt = generators.clear
        encounter.call(begin_and_call)
        encounter.settle()
        generators.clear()
        assert not begun or ended.result(LIMIT)

    at_every_line(body, loop_factory, in_keeper=in_keeper, drive=drive)


@BOTH
@DRIVES
def test_an_owner_that_ends_anywhere_stops_its_manager(loop_factory: Factory, drive: str) -> None:
    """The guard that notices a thread's end only signals, so it may come by at any line."""

    def body(encounter: Encounter) -> None:
        encounter.interrupt = lambda: collect(encounter.manager.life.owner_ended)

        def until_refused() -> None:
            try:
                calls(encounter)
            except (RuntimeError, concurrent.futures.CancelledError) as error:
                refused.append(str(error))

        refused: list[str] = []
        encounter.call(until_refused)
        assert all("stopped" in text for text in refused)

    at_every_line(body, loop_factory, drive=drive)


@DRIVES
def test_a_destructor_may_submit_work_while_its_thread_holds_the_mutex(
    start: Start, own: Worker, seam: SpySeam, drive: str
) -> None:
    """Each time that anybody takes the mutex a __del__ submits something, and all of it is done."""
    manager = start(seam, linger=FAR, drive=drive)
    submitted: list[concurrent.futures.Future[int]] = []

    def inside() -> None:
        assert seam.held()
        if len(submitted) < 200:
            collect(lambda: submitted.append(manager.submit_task(value(1))))

    seam.inside = inside
    for number in range(30):
        assert own.call(manager.run, value(number)) == number
        future = own.call(manager.submit_task, value(number), return_sync_future=True)
        assert own.call(future.result, LIMIT) == number
    seam.inside = lambda: None
    assert submitted
    done, _ = concurrent.futures.wait(submitted, LIMIT)
    assert done == set(submitted)


COLLECTING = """
import asyncio, gc, importlib, sys, threading
from wsgi_async import AsyncioLoopManager

class Garbage:
    def __init__(self, manager):
        self.me, self.manager = self, manager  # only the collector gets rid of it

    def __del__(self):
        made.append(1)
        futures.append(self.manager.submit_task(nothing()))

async def nothing():
    pass

async def numbers():
    try:
        yield 1
        yield 2
    finally:
        ended.append(1)

async def drop_a_generator(manager):
    generator = numbers()
    await anext(generator)
    cycle = [generator]
    cycle.append(cycle)
    begun.append(1)

def calls(manager):
    for number in range(300):
        Garbage(manager)
        manager.run(drop_a_generator(manager))
        assert manager.submit_task(asyncio.sleep(0, number), True).result(20) == number
        if number % 10 == 0:
            assert manager.submit_task(asyncio.sleep(0, number)).result(20) == number

made, futures, begun, ended = [], [], [], []
factory, drive = sys.argv[1], sys.argv[2]
def main():
    made_by = importlib.import_module("uvloop").new_event_loop if factory == "uvloop" else None
    manager = AsyncioLoopManager(loop_factory=made_by, drive=drive)
    manager.start()
    gc.set_threshold(1)
    calls(manager)
    gc.set_threshold(700)
    gc.collect()
    for future in list(futures):
        future.result(20)
    manager.stop()
    assert len(made) == len(futures) == 300, (len(made), len(futures))
    assert len(begun) == len(ended) == 300, (len(begun), len(ended))
    print("done")

thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
@pytest.mark.parametrize("loop", ["ours", pytest.param("uvloop", marks=needs_uvloop)])
def test_a_collector_that_runs_all_the_time_hangs_nobody(loop: str, drive: str) -> None:
    """With a collection at every chance, calls, destructors and generators come to their ends."""
    assert child(COLLECTING, loop, drive) == "done\n"


class Counted(Coroutine[Any, Any, str]):
    """A coroutine of a user's own class, whose methods are user code."""

    def __init__(self, seam: SpySeam, held: list[str]) -> None:
        self.seam, self.held = seam, held
        self.inner = value("counted")

    def note(self, where: str) -> None:
        if self.seam.held():
            self.held.append(where)

    def send(self, value: Any) -> Any:
        self.note("send")
        return self.inner.send(value)

    def throw(self, *args: Any) -> Any:
        self.note("throw")
        return self.inner.throw(*args)

    def close(self) -> None:
        self.note("close")
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, str]:
        self.note("await")
        return self.inner.__await__()


class Handler(logging.Handler):
    """A log handler of the user's."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def emit(self, record: logging.LogRecord) -> None:
        self.note("log")


@DRIVES
def test_user_code_never_runs_under_the_mutex(
    own: Worker, loop_factory: Factory, seam: SpySeam, drive: str
) -> None:
    """Task factories, coroutines, done callbacks and log handlers may block or call us back."""
    held: list[str] = []
    seen: set[str] = set()

    def note(where: str) -> None:
        seen.add(where)
        if seam.held():
            held.append(where)

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        note("factory")
        if failing:
            raise failing.pop()
        return asyncio.Task(coro, loop=loop, **options)

    def use(sync_future: bool) -> None:
        future: Any = manager.submit_task(Counted(seam, held), sync_future)
        future.add_done_callback(lambda _: note("callback"))
        assert future.result(LIMIT) == "counted"
        failing.append(ValueError("factory"))
        future = manager.submit_task(Counted(seam, held), sync_future)
        future.add_done_callback(lambda _: note("callback"))
        assert isinstance(future.exception(LIMIT), ValueError)
        future = manager.submit_task(Counted(seam, held), sync_future)
        future.add_done_callback(lambda _: note("callback"))
        future.cancel()

    failing: list[Exception] = []
    handler = Handler(note)
    logger = logging.getLogger("wsgi_async")
    logger.addHandler(handler)
    try:
        with started(
            own, seam, loop_factory=loop_factory, linger=FAR, grace=0.01, drive=drive
        ) as manager:
            loop = manager.get_event_loop()
            loop.set_task_factory(factory)
            assert own.call(manager.run, Counted(seam, held)) == "counted"
            for sync_future in (False, True):
                own.call(use, sync_future)
            released, door = threading.Event(), Door()

            async def stubborn() -> None:
                while not released.is_set():
                    try:
                        await asyncio.sleep(0.01)
                    except asyncio.CancelledError:
                        note("cancelled")

            with pytest.raises(TimeoutError):
                own.call(manager.run, stubborn(), timeout=0.01)
            released.set()
            future = own.call(manager.submit_task, door.walk())
            future.add_done_callback(lambda _: note("callback of a stop"))
            own.call(manager.submit_task, Counted(seam, held), return_sync_future=True)
            door.await_reached()
        with pytest.raises(RuntimeError):
            own.call(manager.run, Counted(seam, held))
    finally:
        logger.removeHandler(handler)
    assert held == []
    assert {"factory", "callback", "callback of a stop", "cancelled", "log"} <= seen
