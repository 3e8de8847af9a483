"""The deadline of a context: which waits it bounds, and which work it leaves alone."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    give,
    on_plain_worker,
    on_worker,
    our_log,
    reached,
)
from wsgi_async import SyncFuture, WaitTimeoutError, async_to_sync_future
from wsgi_async.core.base.deadlines import Deadline, bounded, request_deadline
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager


def in_request(fn: Callable[[], None], *, seconds: float) -> None:
    """Run a function in a context of its own, with a deadline."""
    context = contextvars.copy_context()
    context.run(request_deadline.set, Deadline(seconds))
    context.run(fn)


def alone(manager: AsyncioLoopManager) -> None:
    """Nothing else is on the loop."""


def beside_a_task(manager: AsyncioLoopManager) -> None:
    """The loop has other work in flight."""
    busy = Endless()
    manager.submit_task(busy.wait())
    reached(busy.began)


@pytest.mark.parametrize("timeout", [None, 1000])
@pytest.mark.parametrize("way", [alone, beside_a_task])
@on_worker
def test_run_ends_at_the_deadline(
    make_manager: MakeManager, way: Callable[[AsyncioLoopManager], None], timeout: float | None
) -> None:
    """A call without a timeout, or with a longer one, is cancelled and cleaned up in time."""
    manager = make_manager()
    way(manager)

    def view() -> None:
        slow = Endless()
        with pytest.raises(TimeoutError, match=r"Endless\.wait .* the request's deadline"):
            manager.run(slow.wait(), timeout=timeout)
        assert slow.cleaned.is_set()

    in_request(view, seconds=0.3)  # enough for the call to begin
    assert manager.run(give("goes on")) == "goes on"


@on_worker
def test_the_shorter_timeout_is_named(make_manager: MakeManager) -> None:
    """A call's own timeout still counts where it comes first, and its error names it."""
    manager = make_manager()

    def view() -> None:
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            manager.run(Endless().wait(), timeout=0.01)
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            SyncFuture[None]().result(0.01)
        assert manager.run(give("page")) == "page"

    in_request(view, seconds=1000)


@on_worker
def test_nothing_is_started_after_the_deadline(make_manager: MakeManager) -> None:
    """What comes too late is refused as a whole, not begun and cancelled somewhere."""
    manager = make_manager()

    def view() -> None:
        late = Endless()
        coro = late.wait()
        with pytest.raises(TimeoutError, match="not started"):
            manager.run(coro)
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
        assert not late.began.is_set()

    in_request(view, seconds=0)


@on_worker
def test_an_own_timeout_error_passes_through(make_manager: MakeManager) -> None:
    """A `TimeoutError` of the task's own is not mistaken for the deadline's."""
    manager = make_manager()
    own = TimeoutError("the database's")

    async def fail() -> None:
        raise own

    def view() -> None:
        calls: list[Callable[[], object]] = [
            lambda: manager.run(fail()),
            manager.submit_task(fail()).result,
        ]
        for call in calls:
            with pytest.raises(TimeoutError) as caught:
                call()
            assert caught.value is own

    in_request(view, seconds=1000)


@on_worker
def test_a_future_is_waited_for_until_the_deadline(make_manager: MakeManager) -> None:
    """The error says that it was the deadline, and the task goes on after it."""
    manager = make_manager()
    task = Endless()

    def view() -> None:
        future = manager.submit_task(task.wait())
        for ask in (future.result, future.exception):
            for timeout in (None, 1000):
                with pytest.raises(TimeoutError, match="the request's deadline"):
                    ask(timeout)
        assert not future.done()

    in_request(view, seconds=0.02)
    reached(task.began)
    assert not task.cleaned.is_set()


def test_a_future_by_hand_is_waited_for_until_the_deadline() -> None:
    """`wait()` is over at the deadline too, whoever fills the future, and returns False."""

    def view() -> None:
        assert SyncFuture[None]().wait() is False
        wrapped = async_to_sync_future(loop.create_future())
        assert wrapped.wait(1000) is False

    loop = asyncio.new_event_loop()
    in_request(view, seconds=0.02)
    loop.close()


def test_an_outcome_that_is_there_can_be_had_after_the_deadline() -> None:
    """The deadline bounds waits; who need not wait is not stopped."""
    future = SyncFuture[str]()
    future.set_result("page")

    def view() -> None:
        assert future.result() == "page"
        assert future.wait()

    in_request(view, seconds=0)


@on_worker
def test_submitted_work_is_not_bound_by_it(make_manager: MakeManager) -> None:
    """What outlives the request may call back into sync code that waits as long as it needs."""
    manager = make_manager()
    other = make_manager("other")
    over = threading.Event()

    def sync_part() -> str:
        reached(over)
        return other.run(give("late"))

    def view() -> None:
        futures.append(manager.submit_task(asyncio.to_thread(sync_part)))
        assert bounded(None) == 0  # and the view's own context still has it

    futures: list[Any] = []
    in_request(view, seconds=0)
    over.set()
    assert futures[0].result(LIMIT) == "late"


@on_worker
def test_a_coroutines_own_threads_are_bound_by_it(make_manager: MakeManager) -> None:
    """Sync code that a call hands to a thread waits no longer than the call's request."""
    manager = make_manager()

    def view() -> None:
        left = manager.run(asyncio.to_thread(bounded, None))
        assert left is not None
        assert 900 < left <= 1000

    in_request(view, seconds=1000)


def test_without_a_deadline_a_timeout_is_what_it_was() -> None:
    """Nothing is computed where there is no deadline."""
    assert bounded(None) is None
    assert bounded(5) == 5


@pytest.mark.parametrize("prefetch", [0, 2])
@on_worker
def test_a_stream_is_waited_for_until_the_deadline(
    make_manager: MakeManager, prefetch: int
) -> None:
    """The next item is not waited for longer; then the generator can be closed all the same."""
    manager, ended = make_manager(), threading.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    def stream() -> None:
        with manager.iterate(endless(), prefetch=prefetch) as iterator:
            assert next(iterator) == 1
            request_deadline.set(Deadline(BEGIN))
            next(iterator)

    with pytest.raises(TimeoutError, match="Give"):
        in_request(stream, seconds=1000)
    reached(ended)


@on_plain_worker
def test_an_item_that_comes_after_its_caller_has_gone(make_manager: MakeManager) -> None:
    """The loop was blocked for longer than the grace: the stream ends, and skips no item.

    (A loop on the caller's own thread cannot be blocked while that goes on.)
    """
    manager, gone = make_manager(grace=0.05), threading.Event()
    told: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        yield 1
        reached(gone)
        try:
            yield 2
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        yield 3

    def stream() -> None:
        with manager.iterate(numbers()) as iterator:
            assert next(iterator) == 1
            request_deadline.set(Deadline(BEGIN))
            with pytest.raises(TimeoutError, match="was canceled"):
                next(iterator)
            gone.set()
            request_deadline.set(None)
            with pytest.raises(asyncio.CancelledError):
                next(iterator)

    in_request(stream, seconds=1000)
    assert told == ["cancelled"]


@pytest.mark.parametrize("prefetch", [0, 2])
@on_worker
def test_no_stream_is_begun_after_the_deadline(make_manager: MakeManager, prefetch: int) -> None:
    """One that comes too late does nothing, and can be closed."""
    manager, begun = make_manager(), threading.Event()

    async def numbers() -> AsyncIterator[int]:
        begun.set()
        yield 1

    def stream() -> None:
        with manager.iterate(numbers(), prefetch=prefetch) as iterator:
            next(iterator)

    with pytest.raises(TimeoutError, match="not started"):
        in_request(stream, seconds=0)
    manager.run(give("what was submitted before"))
    assert not begun.is_set()


@on_plain_worker
def test_an_item_that_comes_with_the_deadline(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made in the very moment in which its time is over is given out, and all goes on."""
    manager, over, ended = make_manager(), threading.Event(), threading.Event()
    runner = lifecycle_of(manager).runner
    assert runner is not None
    live = runner.live
    post = live.post

    def posts(callback: Callable[..., object], *args: object) -> None:
        post(callback, *args)
        if callback == live.cancel:
            over.set()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            reached(over)  # the loop stands still, so it cannot be canceled before the next item
            yield 2
            yield 3
        finally:
            ended.set()

    def stream() -> None:
        with manager.iterate(numbers()) as iterator:
            assert [next(iterator), next(iterator)] == [1, 2]
            request_deadline.set(None)
            assert next(iterator) == 3

    monkeypatch.setattr(live, "post", posts)
    in_request(stream, seconds=0.3)
    assert ended.is_set()


@on_worker
def test_entering_a_context_manager_ends_at_the_deadline(make_manager: MakeManager) -> None:
    """What is not entered in time is cancelled."""
    manager, endless = make_manager(), Endless()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[None, None]:
        await endless.wait()
        yield

    def enter() -> None:
        with manager.wrap_async_context_manager(opened()):
            pytest.fail("entered")

    with pytest.raises(TimeoutError, match="was canceled"):
        in_request(enter, seconds=0.05)
    assert endless.cleaned.is_set()


@on_worker
def test_a_context_manager_that_is_entered_after_all(make_manager: MakeManager) -> None:
    """Whoever swallows the cancellation is exited at once, as nobody else would do it."""
    manager, told = make_manager(), list[Any]()

    class Stubborn:
        async def __aenter__(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("entered")

        async def __aexit__(self, *details: object) -> None:
            told.append(details[0])
            raise asyncio.CancelledError  # which would end a server's process

    def enter() -> None:
        with manager.wrap_async_context_manager(Stubborn()):
            pytest.fail("entered")

    with pytest.raises(TimeoutError, match="was canceled"):
        in_request(enter, seconds=0.05)
    assert told == ["entered", WaitTimeoutError]


@on_worker
def test_leaving_a_context_manager_ends_at_the_deadline(make_manager: MakeManager) -> None:
    """A task group whose tasks do not end in time is cancelled, and so are they."""
    manager, endless = make_manager(grace=1000), Endless()

    async def begin(group: asyncio.TaskGroup) -> None:
        group.create_task(endless.wait())

    def leave() -> None:
        with manager.wrap_async_context_manager(asyncio.TaskGroup()) as group:
            manager.run(begin(group))

    with pytest.raises(TimeoutError, match="was canceled"):
        # Not over before it is left, on a busy machine: then the exit would have the grace.
        in_request(leave, seconds=1.5)
    assert endless.cleaned.is_set()
    assert manager.run(give("goes on")) == "goes on"


@asynccontextmanager
async def opened(clean_up: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    """A context manager that takes its time to be left."""
    try:
        yield
    finally:
        await clean_up()


def leave_late(
    manager: AsyncioLoopManager,
    clean_up: Callable[[], Awaitable[object]],
    error: BaseException | None,
) -> None:
    """Leave it when the deadline is over, with an exception perhaps."""

    def leave() -> None:
        with manager.wrap_async_context_manager(opened(clean_up)):
            request_deadline.set(Deadline(0))
            if error is not None:
                raise error

    in_request(leave, seconds=1000)


@pytest.mark.parametrize("error", [None, KeyError("the body's")])
@on_worker
def test_leaving_a_context_manager_after_the_deadline(
    make_manager: MakeManager, error: Exception | None
) -> None:
    """The deadline may be over before: its cleanup has its time all the same."""
    closed = threading.Event()

    async def clean_up() -> None:
        await asyncio.sleep(0.05)
        closed.set()

    with nullcontext() if error is None else pytest.raises(KeyError):
        leave_late(make_manager(), clean_up, error)
    assert closed.is_set()


@on_worker
def test_leaving_a_context_manager_for_ever(make_manager: MakeManager) -> None:
    """Nor does cleanup after the deadline have more than the grace; the error has its name."""
    endless = Endless()
    with pytest.raises(TimeoutError, match=r"opened was .* canceled") as caught:
        leave_late(make_manager(grace=0.05), endless.wait, KeyError("the body's"))
    assert isinstance(caught.value.__context__, KeyError)
    assert endless.cleaned.is_set()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@on_worker
def test_an_interrupt_that_leaves_a_context_manager(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    """It goes on as it is, also where the exit is cut short; that is told in the log."""
    endless = Endless()
    with pytest.raises(kind):
        leave_late(make_manager(grace=0.05), endless.wait, kind())
    assert endless.cleaned.is_set()
    assert any("opened was not exited within 0.05 s" in line for line in our_log(caplog))
