"""Exceptions, in both directions."""

from __future__ import annotations

import asyncio
import sys
import traceback
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import keeper_only, make, on_thread, stepped_by
from tests.core.support import LIMIT, Stubborn, in_process, our_log, throw
from wsgi_async import TaskCancelledError, async_to_sync
from wsgi_async.core.base.deadlines import Deadline, request_deadline
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from tests.async_to_sync.conftest import Start
    from tests.core.support import Worker


class Failure(Exception):
    """What the tests raise on purpose."""


def fail(error: BaseException) -> NoReturn:
    raise error


def is_same(raised: BaseException, error: BaseException) -> bool:
    """Whether it is the very error; for a cancellation, one that is an `Exception` too."""
    if isinstance(error, asyncio.CancelledError):
        return isinstance(raised, TaskCancelledError) and raised.args == error.args
    return raised is error


def depth(error: BaseException) -> int:
    return len(traceback.extract_tb(error.__traceback__))


@pytest.mark.parametrize("kind", [Failure, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_of_the_coroutine(
    worker: Worker, start: Start, mode: str, kind: type[BaseException]
) -> None:
    """What the coroutine raises comes out, with the coroutine's lines in its traceback."""
    start()
    error = kind("reason")
    with pytest.raises(kind) as raised:
        worker.call(async_to_sync(throw), error)
    assert is_same(raised.value, error)
    assert raised.value.__context__ is None
    lines = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert "throw" in lines
    assert worker.call(async_to_sync(stepped_by))  # the loop lives on


@pytest.mark.parametrize("kind", [Failure, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_of_the_sync_function(
    worker: Worker, start: Start, mode: str, kind: type[BaseException]
) -> None:
    """What a sync function raises can be caught by its coroutine, whatever it is."""
    start()
    error = kind("reason")

    async def catch() -> Any:
        try:
            await sync_to_async(fail)(error)
        except kind as caught:
            return caught, [one.name for one in traceback.extract_tb(caught.__traceback__)]

    caught, lines = worker.call(async_to_sync(catch))
    assert caught is error
    assert "fail" in lines

    async def pass_on() -> None:
        await sync_to_async(fail)(error)

    with pytest.raises(kind) as raised:
        worker.call(async_to_sync(pass_on))
    assert is_same(raised.value, error)


def test_stop_iteration(worker: Worker, start: Start, mode: str) -> None:
    """`StopIteration`, which no future takes, becomes a `RuntimeError`, and nothing hangs."""
    start()

    async def call() -> None:
        await sync_to_async(next)(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration") as raised:
        worker.call(async_to_sync(call))
    assert isinstance(raised.value.__cause__, StopIteration)


def test_through_all_layers(worker: Worker, start: Start, mode: str) -> None:
    """An error passes sync and async layers as it is."""
    start()
    error = Failure()

    async def layer(left: int) -> None:
        if left:
            await sync_to_async(async_to_sync(layer))(left - 1)
        raise error

    with pytest.raises(Failure) as raised:
        worker.call(async_to_sync(layer), 5)
    assert raised.value is error
    assert raised.value.__cause__ is None


def test_handled_exception_is_seen(worker: Worker, start: Start, mode: str) -> None:
    """In an `except` block the coroutine, and its sync functions, see what is being handled."""
    start()
    error = Failure()

    async def look() -> list[object]:
        first = sys.exc_info()[1]
        inner = await sync_to_async(lambda: sys.exc_info()[1])()
        return [first, inner, sys.exc_info()[1]]

    def handle() -> object:
        try:
            raise error
        except Failure:
            seen = async_to_sync(look)()
            assert sys.exc_info()[1] is error
            return seen

    assert worker.call(handle) == [error, error, error]
    assert error.__context__ is None


def test_handled_exception_does_not_grow(worker: Worker, start: Start, mode: str) -> None:
    """Its traceback does not get a line for each call."""
    start()
    error = Failure()

    def handle() -> tuple[int, int]:
        try:
            raise error
        except Failure:
            before = depth(error)
            for _ in range(3):
                assert async_to_sync(stepped_by)()
            return before, depth(error)

    before, after = worker.call(handle)
    assert before == after


def test_raise_again(worker: Worker, start: Start, mode: str) -> None:
    """In an `except` block the coroutine can raise the same exception again with `raise`."""
    start()
    error = Failure()

    async def again() -> NoReturn:
        await asyncio.sleep(0)
        raise  # noqa: PLE0704 - what is being handled by the caller

    def handle() -> None:
        try:
            raise error
        except Failure:
            async_to_sync(again)()

    with pytest.raises(Failure) as raised:
        worker.call(handle)
    assert raised.value is error


def test_new_error_in_an_except_block(worker: Worker, start: Start, mode: str) -> None:
    """What the coroutine raises then has the handled exception as its context."""
    start()
    error = Failure()

    def handle() -> None:
        try:
            raise error
        except Failure:
            async_to_sync(throw)(KeyError())

    with pytest.raises(KeyError) as raised:
        worker.call(handle)
    assert raised.value.__context__ is error


@keeper_only  # a loop that is run in an `except` block has that around all of its tasks
def test_handled_exception_does_not_leak(worker: Worker, start: Start, mode: str) -> None:
    """The loop's other tasks do not get what the caller is handling as their context."""
    manager = start()
    task_error = Failure("task")

    async def leave() -> asyncio.Task[None]:
        return asyncio.create_task(fail_soon())

    async def fail_soon() -> None:
        raise task_error

    async def wait(task: asyncio.Task[None]) -> None:
        await asyncio.wait([task])

    def handle() -> None:
        task = manager.run(leave())
        try:
            raise Failure("handled")
        except Failure:
            async_to_sync(wait)(task)
        with pytest.raises(Failure):
            task.result()

    worker.call(handle)
    assert task_error.__context__ is None


def child_refused(mode: str) -> None:
    """Calls in a sync function, on a manager that is being stopped."""
    on_thread(mode, _refused)


def _refused() -> None:
    manager = make()
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    async def outer() -> None:
        def function() -> None:
            runner = lifecycle_of(manager).runner
            assert runner is not None
            runner.live.closing = True
            try:
                manager.run(begin())
            finally:
                runner.live.closing = False

        await sync_to_async(function)()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="stopp"):
            async_to_sync(outer)()
    assert begun == []
    manager.stop()


def test_refused(mode: str) -> None:
    """A call that is refused is an error at once, with no warning of an unawaited coroutine."""
    in_process(child_refused, mode)


@pytest.mark.parametrize("handling", [False, True])
def test_left_behind(
    worker: Worker,
    start: Start,
    mode: str,
    handling: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A coroutine that outlives its deadline and its grace goes on by itself, undisturbed."""
    manager = start(grace=0.02)
    stubborn = Stubborn()
    ends: list[str] = []

    async def wait() -> None:
        ends.append(await stubborn.wait())

    def call() -> None:
        request_deadline.set(Deadline(0.02))
        if not handling:
            async_to_sync(wait)()
        try:
            raise Failure
        except Failure:
            async_to_sync(wait)()

    with pytest.raises(TimeoutError, match="deadline"):
        worker.call(partial(_in_context, call))
    assert len(our_log(caplog)) == 1
    assert ends == []
    stubborn.release()
    worker.call(manager.run, _until(lambda: bool(ends)), timeout=LIMIT)
    assert ends == ["released"]


def test_nested_left_behind(
    worker: Worker, start: Start, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same where sync code of another coroutine has called it."""
    manager = start(grace=0.02)
    stubborn = Stubborn()
    ends: list[str] = []

    async def wait() -> None:
        ends.append(await stubborn.wait())

    def function() -> None:
        request_deadline.set(Deadline(0.02))
        try:
            async_to_sync(wait)()
        finally:
            request_deadline.set(None)

    async def outer() -> None:
        with pytest.raises(TimeoutError, match="deadline"):
            await sync_to_async(function)()

    worker.call(async_to_sync(outer))
    assert len(our_log(caplog)) == 1
    stubborn.release()
    worker.call(manager.run, _until(lambda: bool(ends)), timeout=LIMIT)
    assert ends == ["released"]


def _in_context(function: Any) -> None:
    import contextvars

    contextvars.copy_context().run(function)


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)
