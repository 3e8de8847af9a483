"""Errors that meet what runs a loop: whom they reach, and that everything else goes on."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.runners.parts import LIMIT, Door, Worker, steps, value
from wsgi_async import run_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runners.conftest import Start
    from tests.runners.spies import SpyPrimitives
    from wsgi_async import AsyncioLoopManager


class Abort(BaseException):
    """One that no `except Exception` catches."""


FATAL = pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Abort("mine")])


def still_works(manager: AsyncioLoopManager, own: Worker) -> None:
    """The loop goes on, on its one thread, and nothing is left in flight."""
    threads = {*own.call(manager.submit_task, steps()).result(LIMIT)}
    threads |= {*own.call(manager.run, steps())}
    assert len(threads) == 1
    assert "in_flight=0" in own.call(repr, manager)


@FATAL
def test_what_a_tracked_coroutine_raises_goes_to_its_waiter(
    start: Start, own: Worker, spy: SpyPrimitives, error: BaseException
) -> None:
    """SystemExit and its like end neither the loop nor its thread, and are nobody else's."""
    manager = start(spy)

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
    assert innocent.result(LIMIT) == "through"
    assert spy.escaped == []
    still_works(manager, own)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_a_strangers_callback_raises_ends_no_call(
    start: Start,
    own: Worker,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SystemExit out of somebody else's callback is logged, and the call goes on."""
    manager = start()

    def fail() -> None:
        raise error

    async def beside() -> list[int]:
        asyncio.get_running_loop().call_soon(fail)
        return await steps()

    with caplog.at_level(logging.ERROR, "wsgi_async"):
        assert len(set(own.call(manager.run, beside()))) == 1
    logged = [record for record in caplog.records if record.name == "wsgi_async"]
    assert [record.exc_info[1] for record in logged if record.exc_info] == [error]
    still_works(manager, own)


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
def test_an_error_of_the_task_factory_goes_to_the_caller(
    start: Start, own: Worker, factory: Factory, error: BaseException
) -> None:
    """run() raises what the task factory raised; its coroutine is closed, the manager works."""
    manager = start()
    manager.get_event_loop().set_task_factory(factory)
    factory.error = error
    with pytest.raises(type(error)) as caught:
        own.call(manager.run, value(1))
    assert caught.value is error
    still_works(manager, own)


@ERRORS
def test_an_error_of_the_task_factory_goes_to_the_future(
    start: Start, own: Worker, factory: Factory, error: BaseException
) -> None:
    """Who submitted the coroutine learns of it, and the loop goes on."""
    manager = start()
    manager.get_event_loop().set_task_factory(factory)

    def submit_and_wait() -> BaseException | None:
        factory.error = error
        return manager.submit_task(value(1)).exception(LIMIT)

    assert own.call(submit_and_wait) is error
    still_works(manager, own)


@ERRORS
def test_an_error_of_the_task_factory_spares_other_calls(
    start: Start, own: Worker, other: Worker, factory: Factory, error: BaseException
) -> None:
    """If another thread's task cannot be made, its own waiter learns of it, and nobody else."""
    manager = start()
    manager.get_event_loop().set_task_factory(factory)
    door = Door()
    call = own.begin(manager.run, door.walk())
    door.await_reached()
    factory.error = error
    assert other.call(manager.submit_task, value(1)).exception(LIMIT) is error
    door.open()
    assert call.result(LIMIT) == "through"


@ERRORS
def test_an_error_of_the_task_factory_spares_the_caller_who_finds_it_queued(
    start: Start, own: Worker, error: BaseException
) -> None:
    """A caller beside whom queued work is begun is not hit by its failure."""
    manager = start()
    failing = [error]

    def fail_for_the_first(
        loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        if coro.cr_code is not Door.walk.__code__ and failing:
            raise failing.pop()
        return asyncio.Task(coro, loop=loop, **options)

    manager.get_event_loop().set_task_factory(fail_for_the_first)

    def submit_and_run() -> BaseException | None:
        future = manager.submit_task(value(1))
        failed = future.exception(LIMIT)
        assert manager.run(value("mine")) == "mine"
        return failed

    assert own.call(submit_and_run) is error
    still_works(manager, own)


def test_a_task_factory_may_keep_its_tasks(start: Start, own: Worker, factory: Factory) -> None:
    """Tasks that somebody holds on to change nothing, and each of them is done."""
    manager = start()
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

    manager, door = start(), Door()
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
def test_an_eager_task_factory_changes_nothing(
    start: Start,
    own: Worker,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> None:
    """Coroutines that run when their task is made have their outcome, thread and tracking."""
    factory: Any = getattr(asyncio, "eager_task_factory", None)
    if not fits(factory, (loop_factory or asyncio.new_event_loop)()):
        pytest.skip("the loop does not take asyncio's eager task factory")
    manager = start()
    manager.get_event_loop().set_task_factory(factory)

    async def fail() -> None:
        raise LookupError("at once")

    async def outer() -> list[Any]:
        inner = [manager.submit_task(coro) for coro in (value(1), fail(), steps())]
        waits = [asyncio.wrap_future(future) for future in inner]
        return await asyncio.gather(*waits, return_exceptions=True)

    one, failed, threads = own.call(manager.run, outer())
    assert (one, repr(failed)) == (1, "LookupError('at once')")
    assert set(threads) == set(own.call(manager.run, steps()))
    with pytest.raises(LookupError):
        own.call(manager.submit_task, fail()).result(LIMIT)
    door = Door()
    waiting = own.call(manager.submit_task, door.walk())
    door.await_reached()
    assert waiting.cancel()
    assert "in_flight=0" in own.call(repr, manager) or own.call(manager.run, value(True))


def test_a_context_that_is_entered_already_is_refused(start: Start, own: Worker) -> None:
    """A context= that somebody is inside of raises at once, rather than never to step the task."""
    manager = start()
    context = contextvars.copy_context()

    def inside() -> None:
        with pytest.raises(RuntimeError, match="already entered"):
            manager.run(value(1), context=context)

    own.call(context.run, inside)
    still_works(manager, own)


@pytest.mark.parametrize("seconds", [1e9, 1e18, 1e300])
def test_a_timeout_may_be_longer_than_a_clock_can_count(
    start: Start, own: Worker, seconds: float
) -> None:
    """Whatever number of seconds a call may take, it does what it does without a limit."""
    manager = start()

    async def ask() -> int:
        return await run_in_calling_thread(int)

    assert own.call(manager.run, ask(), timeout=seconds) == 0
    future = own.call(manager.submit_task, steps())
    assert len(own.call(future.result, seconds)) == 5
    still_works(manager, own)
