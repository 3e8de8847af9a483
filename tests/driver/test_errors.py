"""Errors that meet the driver: mechanics 6 and 7, and the baton that no error can lose."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.driver.parts import FAR, LIMIT, Door, Worker, keeper_of, steps, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.driver.conftest import Start
    from tests.driver.seams import SpySeam
    from wsgi_async import AsyncioLoopManager


class Abort(BaseException):
    """One that no `except Exception` catches."""


FATAL = pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Abort("mine")])
DRIVES = pytest.mark.parametrize("drive", ["auto", "keeper"])


def still_works(manager: AsyncioLoopManager, own: Worker, *, drive: str = "auto") -> None:
    """The baton is free, the keeper lives, and nothing is left in flight."""
    future = own.call(manager.submit_task, steps())
    assert future.result(LIMIT) == [keeper_of(manager)] * 5
    driver = own.ident if drive == "auto" else keeper_of(manager)
    assert own.call(manager.run, steps()) == [driver] * 5
    assert "in_flight=0" in own.call(repr, manager)


@FATAL
@DRIVES
def test_what_a_tracked_coroutine_raises_goes_to_its_waiter(
    start: Start, own: Worker, seam: SpySeam, drive: str, error: BaseException
) -> None:
    """SystemExit and its like end neither the loop nor the keeper, and are nobody else's."""
    manager = start(seam, linger=FAR, drive=drive)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    beside = Door()
    with pytest.raises(type(error)) as caught:
        own.call(manager.run, fail())
    assert caught.value is error
    innocent = own.call(manager.submit_task, beside.walk())
    beside.await_reached()
    assert own.call(manager.submit_task, fail()).exception(LIMIT) is error
    beside.open()
    assert innocent.result(LIMIT) == [keeper_of(manager)] * 2
    assert seam.escaped == []
    still_works(manager, own, drive=drive)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@DRIVES
def test_what_a_strangers_callback_raises_ends_no_call(
    start: Start,
    own: Worker,
    drive: str,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SystemExit out of somebody else's callback is logged, and whoever drives goes on."""
    manager = start(linger=FAR, drive=drive)

    def fail() -> None:
        raise error

    async def beside() -> list[int]:
        asyncio.get_running_loop().call_soon(fail)
        return await steps()

    with caplog.at_level(logging.ERROR, "wsgi_async"):
        assert len(set(own.call(manager.run, beside()))) == 1
    logged = [record for record in caplog.records if record.name == "wsgi_async"]
    assert [record.exc_info[1] for record in logged if record.exc_info] == [error]
    still_works(manager, own, drive=drive)


class Factory:
    """A task factory that fails when it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.kept: list[asyncio.Future[Any]] = []

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        task = asyncio.Task(coro, loop=loop, **options)
        self.kept.append(task)
        return task


@pytest.fixture
def factory() -> Factory:
    return Factory()


ERRORS = pytest.mark.parametrize("error", [ValueError("of the factory"), SystemExit(3), Abort()])


@ERRORS
@DRIVES
def test_an_error_of_the_task_factory_goes_to_the_caller(
    start: Start, own: Worker, factory: Factory, drive: str, error: BaseException
) -> None:
    """run() raises what the task factory raised; its coroutine is closed, the manager works."""
    manager = start(linger=FAR, drive=drive)
    manager.get_event_loop().set_task_factory(factory)
    factory.error = error
    with pytest.raises(type(error)) as caught:
        own.call(manager.run, value(1))
    assert caught.value is error
    still_works(manager, own, drive=drive)


@ERRORS
@pytest.mark.parametrize("sync_future", [True, False])
@DRIVES
def test_an_error_of_the_task_factory_goes_to_the_future(
    start: Start,
    own: Worker,
    factory: Factory,
    drive: str,
    sync_future: bool,
    error: BaseException,
) -> None:
    """Who submitted the coroutine learns of it, and the keeper outlives it."""
    manager = start(linger=FAR, drive=drive)
    manager.get_event_loop().set_task_factory(factory)

    def submit_and_wait() -> BaseException | None:
        factory.error = error
        return manager.submit_task(value(1), sync_future).exception(LIMIT)

    assert own.call(submit_and_wait) is error
    still_works(manager, own, drive=drive)


@ERRORS
def test_an_error_of_the_task_factory_spares_the_thread_that_drives(
    start: Start, own: Worker, other: Worker, factory: Factory, error: BaseException
) -> None:
    """If another thread's task cannot be made, its own waiter learns of it, not the driver."""
    manager = start(linger=FAR)
    manager.get_event_loop().set_task_factory(factory)
    door = Door()
    driving = own.submit(manager.run, door.walk())
    door.await_reached()
    factory.error = error
    assert other.call(manager.submit_task, value(1)).exception(LIMIT) is error
    door.open()
    assert driving.result(LIMIT) == [own.ident] * 2


@ERRORS
def test_an_error_of_the_task_factory_spares_the_caller_who_finds_it_queued(
    start: Start, own: Worker, factory: Factory, error: BaseException
) -> None:
    """A caller that starts what a destructor queued meanwhile is not hit by its failure."""
    manager = start(linger=FAR, drive="caller")
    loop = manager.get_event_loop()
    made: list[asyncio.Task[Any]] = []

    def fail_for_the_second(
        loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        if len(made) == 1:
            made.append(made[0])
            raise error
        made.append(asyncio.Task(coro, loop=loop, **options))
        return made[-1]

    loop.set_task_factory(fail_for_the_second)

    def submit_and_run() -> BaseException | None:
        future = manager.submit_task(value(1), return_sync_future=True)
        assert manager.run(value("mine")) == "mine"
        return future.exception(LIMIT)

    assert own.call(submit_and_run) is error


@DRIVES
def test_a_task_factory_may_keep_its_tasks(
    start: Start, own: Worker, factory: Factory, drive: str
) -> None:
    """Tasks that somebody holds on to change nothing, and each of them is done."""
    manager = start(linger=FAR, drive=drive)
    manager.get_event_loop().set_task_factory(factory)
    for number in range(10):
        assert own.call(manager.run, value(number)) == number
        assert own.call(manager.submit_task, value(-number)).result(LIMIT) == -number
    assert len(factory.kept) == 20
    own.call(manager.run, value(None))  # the last task's own end is a turn of the loop later
    assert all(task.done() for task in factory.kept[:20])


def test_a_manager_whose_task_factory_fails_for_good_still_stops(start: Start, own: Worker) -> None:
    """stop() ends what is in flight and closes the loop, whatever the task factory does."""
    cleaned_up: list[bool] = []

    def fail(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        raise ValueError("never again")

    async def in_flight() -> None:
        try:
            await door.walk()
        finally:
            cleaned_up.append(True)

    manager, door = start(linger=FAR), Door()
    loop = manager.get_event_loop()
    future = own.call(manager.submit_task, in_flight())
    door.await_reached()
    loop.set_task_factory(fail)
    manager.stop(LIMIT)
    assert loop.is_closed()
    assert cleaned_up == [True]
    with pytest.raises(RuntimeError, match="stopped"):
        future.result(0)
    gc.collect()  # a coroutine that was never awaited would be told of here


def fits(factory: Any, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a task factory works with a loop by itself: uvloop 0.23 wants Python 3.13.3's."""
    loop.set_task_factory(factory)
    coro = value(1)
    try:
        loop.run_until_complete(coro)
    except TypeError:
        return False
    finally:
        coro.close()
        loop.close()
    return True


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="since Python 3.12")
@pytest.mark.parametrize("drive", ["auto", "keeper", "caller"])
def test_an_eager_task_factory_changes_nothing(
    start: Start,
    own: Worker,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    drive: str,
) -> None:
    """Coroutines that run when their task is made have their outcome, thread and tracking."""
    factory: Any = getattr(asyncio, "eager_task_factory", None)
    if not fits(factory, (loop_factory or asyncio.new_event_loop)()):
        pytest.skip("the loop does not take asyncio's eager task factory")
    manager = start(linger=FAR, drive=drive)
    manager.get_event_loop().set_task_factory(factory)

    async def fail() -> None:
        raise LookupError("at once")

    async def outer() -> list[Any]:
        inner = [manager.submit_task(coro) for coro in (value(1), fail(), steps())]
        waits = [asyncio.wrap_future(future) for future in inner]
        return await asyncio.gather(*waits, return_exceptions=True)

    one, failed, threads = own.call(manager.run, outer())
    driver = keeper_of(manager) if drive == "keeper" else own.ident
    assert (one, repr(failed)) == (1, "LookupError('at once')")
    assert threads == [driver] * 5
    with pytest.raises(LookupError):
        own.call(manager.submit_task, fail()).result(LIMIT)
    door = Door()
    waiting = own.call(manager.submit_task, door.walk())
    door.await_reached()
    assert waiting.cancel()
    assert "in_flight=0" in own.call(repr, manager) or own.call(manager.run, value(True))


@DRIVES
def test_a_context_that_is_entered_already_is_refused(
    start: Start, own: Worker, drive: str
) -> None:
    """A context= that somebody is inside of raises at once, rather than never to step the task."""
    manager = start(linger=FAR, drive=drive)
    context = contextvars.copy_context()

    def inside() -> None:
        with pytest.raises(RuntimeError, match="already entered"):
            manager.run(value(1), context=context)

    own.call(context.run, inside)
    still_works(manager, own, drive=drive)


def test_an_error_between_taking_and_driving_does_not_lose_the_baton(
    start: Start, own: Worker, seam: SpySeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the loop cannot be entered the call fails, and the next one drives again."""
    manager = start(seam, linger=FAR)
    driver = manager.life.driver
    assert driver is not None
    failing = [MemoryError()]

    def fail(enter: Callable[[], None] = driver.visits._enter) -> None:
        if failing:
            raise failing.pop()
        enter()

    monkeypatch.setattr(driver.visits, "_enter", fail)
    with pytest.raises(MemoryError):
        own.call(manager.run, value(1))
    still_works(manager, own)


def test_an_error_of_the_clock_does_not_lose_the_baton(
    start: Start, own: Worker, seam: SpySeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the timer of a timeout cannot be set the call fails, and the next one drives again."""
    manager = start(seam, linger=FAR)
    driver = manager.life.driver
    assert driver is not None

    def fail(*args: object) -> None:
        raise OverflowError("too far away")

    with monkeypatch.context() as patch:
        patch.setattr(driver.loop, "call_later", fail)
        with pytest.raises(OverflowError):
            own.call(manager.run, value(1), timeout=5)
    still_works(manager, own)
