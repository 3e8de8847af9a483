"""Destructors and user code that come by where a mutex is held, or anywhere else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import in_process, say
from tests.runners.encounters import Encounter, at_every_line
from tests.runners.parts import LIMIT, Door, Worker, factory_of, started, steps, value
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from tests.runners.conftest import Start
    from tests.runners.spies import SpyPrimitives

    Factory = Callable[[], asyncio.AbstractEventLoop] | None

BOTH = pytest.mark.parametrize("loop_factory", ["ours", "uvloop"], indirect=True)
PLACES = pytest.mark.parametrize("place", ["caller", "keeper", "resident"])


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
    """What is interrupted: a call, and a thread that waits for a task."""
    manager = encounter.manager
    assert manager.run(value("run")) == "run"
    assert manager.submit_task(value("submitted")).result(LIMIT) == "submitted"


@BOTH
@PLACES
def test_a_destructor_may_submit_work_anywhere(loop_factory: Factory, place: str) -> None:
    """Wherever the collector interrupts us, what a __del__ submits is done and nobody hangs."""

    def body(encounter: Encounter) -> None:
        submitted: list[concurrent.futures.Future[list[int]]] = []

        def submit() -> None:
            submitted.append(encounter.manager.submit_task(steps()))

        encounter.interrupt = lambda: collect(submit)
        encounter.call(calls, encounter)
        encounter.settle()
        for future in submitted:
            assert len(future.result(LIMIT)) == 5

    at_every_line(body, place, loop_factory)


@BOTH
@PLACES
def test_an_async_generator_may_be_collected_anywhere(loop_factory: Factory, place: str) -> None:
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

    at_every_line(body, place, loop_factory)


@BOTH
@PLACES
def test_an_owner_that_ends_anywhere_stops_its_manager(loop_factory: Factory, place: str) -> None:
    """The guard that notices a thread's end only signals, so it may come by at any line."""

    def body(encounter: Encounter) -> None:
        life = lifecycle_of(encounter.manager)
        encounter.interrupt = lambda: collect(life.owner_ended)

        def until_refused() -> None:
            try:
                calls(encounter)
            except (RuntimeError, concurrent.futures.CancelledError) as error:
                refused.append(str(error))

        refused: list[str] = []
        encounter.call(until_refused)
        assert all("stopped" in text for text in refused)

    at_every_line(body, place, loop_factory)


def test_a_destructor_may_submit_work_while_its_thread_holds_the_mutex(
    start: Start, own: Worker, spy: SpyPrimitives
) -> None:
    """Each time that anybody takes the mutex a __del__ submits something, and all of it is done."""
    manager = start(spy)
    submitted: list[concurrent.futures.Future[int]] = []

    def inside() -> None:
        assert spy.held()
        if len(submitted) < 200:
            collect(lambda: submitted.append(manager.submit_task(value(1))))

    spy.inside = inside
    for number in range(30):
        assert own.call(manager.run, value(number)) == number
        future = own.call(manager.submit_task, value(number))
        assert own.call(future.result, LIMIT) == number
    spy.inside = lambda: None
    assert submitted
    done, _ = concurrent.futures.wait(submitted, LIMIT)
    assert done == set(submitted)


class InCycle:
    """Only the collector gets rid of it; then it submits work."""

    made = 0

    def __init__(
        self, manager: AsyncioLoopManager, futures: list[concurrent.futures.Future[None]]
    ) -> None:
        self.me, self.manager, self.futures = self, manager, futures

    def __del__(self) -> None:
        InCycle.made += 1
        self.futures.append(self.manager.submit_task(nothing()))


async def nothing() -> None:
    pass


def child_that_collects(loop: str, runner: str) -> None:
    with Worker("view", resident=runner == "resident") as worker:
        worker.call(collect_all_the_time, loop)


def collect_all_the_time(loop: str) -> None:
    begun: list[int] = []
    ended: list[int] = []
    futures: list[concurrent.futures.Future[None]] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(1)

    async def drop_a_generator() -> None:
        generator = numbers()
        await anext(generator)
        cycle: list[object] = [generator]
        cycle.append(cycle)
        begun.append(1)

    factory = factory_of(loop)
    with AsyncioLoopManager(loop_factory=factory) as manager:
        gc.set_threshold(1)
        for number in range(300):
            InCycle(manager, futures)
            manager.run(drop_a_generator())
            assert manager.submit_task(asyncio.sleep(0, number)).result(LIMIT) == number
        gc.set_threshold(700)
        gc.collect()
        for future in futures:
            future.result(LIMIT)
    say(f"{InCycle.made} {len(futures)} {len(begun)} {len(ended)}")


@pytest.mark.timeout(80)
@pytest.mark.slow
@pytest.mark.parametrize("loop", ["ours", pytest.param("uvloop", marks=needs_uvloop)])
def test_a_collector_that_runs_all_the_time_hangs_nobody(loop: str, runner: str) -> None:
    """With a collection at every chance, calls, destructors and generators come to their ends."""
    assert in_process(child_that_collects, loop, runner, limit=60) == "300 300 300 300\n"


class Counted(Coroutine[Any, Any, str]):
    """A coroutine of a user's own class, whose methods are user code."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self.inner = value("counted")

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


def test_user_code_never_runs_under_the_mutex(
    own: Worker, loop_factory: Factory, spy: SpyPrimitives
) -> None:
    """Task factories, coroutines, done callbacks and log handlers may block or call us back."""
    held: list[str] = []
    seen: set[str] = set()
    failing: list[Exception] = []

    def note(where: str) -> None:
        seen.add(where)
        if spy.held():
            held.append(where)

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        note("factory")
        if failing:
            raise failing.pop()
        return asyncio.Task(coro, loop=loop, **options)

    def submit() -> Any:
        future: Any = manager.submit_task(Counted(note))
        future.add_done_callback(lambda _: note("callback"))
        return future

    def use() -> None:
        assert submit().result(LIMIT) == "counted"
        failing.append(ValueError("factory"))
        assert isinstance(submit().exception(LIMIT), ValueError)
        submit().cancel()

    handler = Handler(note)
    logger = logging.getLogger("wsgi_async")
    logger.addHandler(handler)
    try:
        with started(own, spy, loop_factory=loop_factory, grace=0.01) as manager:
            loop = manager.get_event_loop()
            loop.set_task_factory(factory)
            assert own.call(manager.run, Counted(note)) == "counted"
            own.call(use)
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
            own.call(manager.submit_task, Counted(note))
            door.await_reached()
        with pytest.raises(RuntimeError):
            own.call(manager.run, Counted(note))
    finally:
        logger.removeHandler(handler)
    assert held == []
    assert {"factory", "callback", "callback of a stop", "cancelled", "log"} <= seen
