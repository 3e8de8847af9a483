"""`manager.iterate()`: async iterables in sync code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.core.forking import fork
from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    on_plain_worker,
    on_worker,
    our_log,
    outcome,
    reached,
    say,
    wait_until,
)
from tests.streaming.parts import Numbers, fail_when_cancelled, ident, open_on, variable
from wsgi_async import AsyncioLoopManager, TaskCancelledError
from wsgi_async.core.base.deadlines import Deadline, request_deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager
    from wsgi_async.core.actors.stream import SyncIterator


class Countdown:
    """An async iterator that has nothing but what it must have."""

    def __init__(self, left: int = 3, error: type[BaseException] = StopAsyncIteration) -> None:
        self.left, self.error = left, error

    def __aiter__(self) -> Countdown:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise self.error
        self.left -= 1
        return self.left


BOTH = pytest.mark.parametrize("prefetch", [0, 4], ids=["item by item", "prefetch"])


@BOTH
@on_worker
def test_every_item_in_its_order(make_manager: MakeManager, prefetch: int) -> None:
    """A for loop gets what an `async for` would, and then the iterator is exhausted."""
    iterator = make_manager().iterate(Numbers(50).walk(), prefetch=prefetch)
    assert iter(iterator) is iterator
    assert list(iterator) == list(range(50))
    assert list(iterator) == []
    iterator.close()


@BOTH
@on_worker
def test_items_that_are_made_outlive_a_refused_call(
    make_manager: MakeManager, prefetch: int
) -> None:
    """After a `next()` that is refused in an event loop, all other items come, and none is lost."""
    numbers = Numbers(4)
    iterator = make_manager().iterate(numbers.walk(), prefetch=prefetch)
    assert next(iterator) == 0
    if prefetch:
        reached(numbers.closed)  # it has run ahead to its end

    async def misuse() -> None:
        with pytest.raises(RuntimeError, match="runs an event loop"):
            next(iterator)

    asyncio.run(misuse())
    assert list(iterator) == [1, 2, 3]
    assert list(iterator) == []


@BOTH
@on_worker
def test_one_task_and_one_context(make_manager: MakeManager, prefetch: int) -> None:
    """All of the generator runs in one task, and sees the variables of who called iterate()."""
    manager, numbers = make_manager(), Numbers(20)
    variable.set("request")
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    variable.set("later")
    for _ in iterator:
        manager.run(give(1))
    assert len(numbers.tasks) == 1
    assert set(numbers.seen) == {"request"}
    assert variable.get() == "later"


@BOTH
@on_worker
def test_one_thread(make_manager: MakeManager, prefetch: int) -> None:
    """All of the generator runs on the thread that every coroutine of the manager runs on."""
    manager, numbers, task = make_manager(), Numbers(50), Endless()
    for number in manager.iterate(numbers.walk(), prefetch=prefetch):
        if number == 25:
            manager.submit_task(task.wait())
            reached(task.began)
        assert manager.run(ident()) in numbers.threads
    assert len(set(numbers.threads)) == 1


@on_worker
def test_nothing_runs_ahead(make_manager: MakeManager) -> None:
    """Without prefetch an item is made when it is asked for; and nothing before the first."""
    numbers = Numbers(10)
    iterator = make_manager().iterate(numbers.walk())
    assert numbers.made == 0
    for made, _ in enumerate(iterator, 1):
        assert numbers.made == made


@on_worker
def test_prefetch_bounds_how_far_it_runs_ahead(make_manager: MakeManager) -> None:
    """With prefetch it makes so many items, and goes on when half of them are taken."""
    numbers = Numbers(100)
    iterator = make_manager().iterate(numbers.walk(), prefetch=8)
    next(iterator)
    wait_until(lambda: numbers.made >= 8, "it did not run ahead")
    for taken, _ in enumerate(iterator, 2):
        assert numbers.made - taken <= 8
    assert taken == 100


@on_worker
def test_an_item_need_not_wait_for_the_others(make_manager: MakeManager) -> None:
    """With prefetch the first item comes as soon as it is there, before the buffer is full."""
    numbers = Numbers(10, stall_at=1)
    iterator = make_manager().iterate(numbers.walk(), prefetch=8)
    assert next(iterator) == 0
    reached(numbers.stalled)
    numbers.go_on()
    assert list(iterator) == list(range(1, 10))


@BOTH
@on_worker
def test_an_exception_comes_at_its_place(make_manager: MakeManager, prefetch: int) -> None:
    """The items before it come first, then the exception, once, and then the end."""
    error = LookupError("no more pages")
    iterator = make_manager().iterate(Numbers(3, error=error).walk(), prefetch=prefetch)
    assert [next(iterator) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError) as caught:
        next(iterator)
    assert caught.value is error
    assert list(iterator) == []


@BOTH
@on_worker
def test_after_an_exception_it_is_at_its_end_at_once(
    make_manager: MakeManager, busy_switching: None, prefetch: int
) -> None:
    """However close the next call follows, it finds the end, and nothing asks to be closed."""
    manager = make_manager()

    def use() -> None:
        iterator = manager.iterate(Numbers(1, error=LookupError()).walk(), prefetch=prefetch)
        with pytest.raises(LookupError):
            list(iterator)
        assert list(iterator) == []

    for _ in range(500):
        use()  # and collected, without a warning


@BOTH
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@on_worker
def test_system_exit_goes_to_the_consumer(
    make_manager: MakeManager, prefetch: int, kind: type[BaseException]
) -> None:
    """What would end an event loop reaches who iterates, and the manager lives on."""
    manager = make_manager()
    iterator = manager.iterate(Numbers(1, error=kind("over")).walk(), prefetch=prefetch)
    next(iterator)
    with pytest.raises(kind, match="over"):
        next(iterator)
    assert manager.run(give("alive")) == "alive"


@BOTH
@pytest.mark.parametrize("way", ["close", "with", "with an exception"])
@on_worker
def test_leaving_early_runs_the_finally_blocks(
    make_manager: MakeManager, prefetch: int, way: str
) -> None:
    """Whoever leaves early has the generator's finally run when close() returns, in its task."""
    manager, numbers = make_manager(), Numbers(10)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    if way == "close":
        next(iterator)
        iterator.close()
        iterator.close()
    else:
        with suppress(LookupError), iterator:
            raise LookupError(next(iterator))
    assert numbers.closed.is_set()
    assert len(numbers.tasks) == 1
    assert list(iterator) == []
    assert open_on(manager) == 0


@on_worker
def test_closing_what_was_never_begun(make_manager: MakeManager) -> None:
    """A generator that was never asked for an item never runs, and leaves nothing behind."""
    numbers = Numbers()
    with make_manager().iterate(numbers.walk()):
        pass
    assert numbers.threads == []


@BOTH
@on_worker
def test_closing_while_it_waits_ends_it_at_once(make_manager: MakeManager, prefetch: int) -> None:
    """A client that goes away ends a generator that is waiting for something."""
    manager, numbers = make_manager(grace=1000.0), Numbers(stall_at=1)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    next(iterator)
    stream = iterator._stream
    assert stream is not None
    with Worker() as other, Worker() as closer:
        waiting = other.begin(next, iterator)
        reached(numbers.stalled)
        wait_until(lambda: stream.present is not None, "nobody waits for the item")
        closer.call(iterator.close)
        assert isinstance(waiting.exception(LIMIT), TaskCancelledError | StopIteration)
    assert numbers.closed.is_set()
    assert isinstance(numbers.ended_by, asyncio.CancelledError)


@on_worker
def test_closing_what_runs_ahead_ends_it_at_once(make_manager: MakeManager) -> None:
    """A generator that waits for something before anybody asks for its item is ended too."""
    manager, numbers = make_manager(grace=1000.0), Numbers(stall_at=1)
    iterator = manager.iterate(numbers.walk(), prefetch=4)
    next(iterator)
    reached(numbers.stalled)
    with Worker() as closer:
        closer.call(iterator.close)
    assert numbers.closed.is_set()
    assert isinstance(numbers.ended_by, asyncio.CancelledError)


@pytest.mark.parametrize("groups", [asyncio.TaskGroup, anyio.create_task_group])
@BOTH
@on_worker
def test_closing_what_yields_in_a_task_group(
    make_manager: MakeManager, groups: Any, prefetch: int
) -> None:
    """The group's tasks are ended, and what it makes of that does not fall on the server."""
    cleaned = threading.Event()

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def events() -> AsyncIterator[int]:
        async with groups() as outer, groups():
            start = getattr(outer, "start_soon", lambda task: outer.create_task(task()))
            start(child)
            while True:
                await asyncio.sleep(0)
                yield 1

    with make_manager().iterate(events(), prefetch=prefetch) as iterator:
        assert next(iterator) == 1
    assert cleaned.is_set()


@BOTH
@on_worker
def test_a_task_that_fails_as_its_stream_is_closed(
    make_manager: MakeManager, prefetch: int
) -> None:
    """That is no part of the closing, and is raised."""

    async def events() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_when_cancelled())
            while True:
                await asyncio.sleep(0)
                yield 1

    iterator = make_manager().iterate(events(), prefetch=prefetch)
    assert next(iterator) == 1
    with pytest.raises(ExceptionGroup) as caught:
        iterator.close()
    assert [str(error) for error in caught.value.exceptions] == ["the child's"]


@on_worker
def test_a_group_of_the_generators_own_as_it_is_closed(make_manager: MakeManager) -> None:
    """It is what it was: the same object, of its own class, with its cause."""

    class Several(ExceptionGroup[Exception]):
        pass

    several = Several("in the cleanup", [OSError("one")])

    async def broken() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise several from ValueError("the cause")

    iterator = make_manager().iterate(broken())
    next(iterator)
    with pytest.raises(Several) as caught:
        iterator.close()
    assert caught.value is several
    assert isinstance(several.__cause__, ValueError)


@BOTH
@on_worker
def test_what_closing_raises(make_manager: MakeManager, prefetch: int) -> None:
    """An exception of a finally block comes out of close()."""

    async def broken() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise LookupError("in the cleanup")

    iterator = make_manager().iterate(broken(), prefetch=min(prefetch, 1))
    next(iterator)
    with pytest.raises(LookupError, match="in the cleanup"):
        iterator.close()


@on_worker
def test_a_cleanup_that_never_ends(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """close() returns within the grace, twice, and the log names who did not end."""
    manager, stubborn = make_manager(grace=0.05), Stubborn()

    async def hopeless() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await stubborn.wait()

    iterator = manager.iterate(hopeless())
    next(iterator)
    iterator.close()
    assert any("hopeless" in line and "0.05 s" in line for line in our_log(caplog))
    stubborn.release()
    wait_until(lambda: open_on(manager) == 0, "it did not end when released")


@BOTH
@on_worker
def test_collected_unclosed(make_manager: MakeManager, prefetch: int) -> None:
    """One that nobody closes is closed in the background, with a warning that names it."""
    manager, numbers = make_manager(), Numbers()
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    next(iterator)
    kept = [iterator]
    del iterator
    with pytest.warns(ResourceWarning, match=r"Numbers\.walk was iterated and never closed"):
        kept.clear()
    reached(numbers.closed)


@pytest.mark.parametrize("way", ["never begun", "exhausted", "failed", "closed", "collected"])
@BOTH
@on_worker
def test_nothing_keeps_an_iterable(make_manager: MakeManager, prefetch: int, way: str) -> None:
    """However it comes to its end, it is freed then, without the collector."""
    manager = make_manager()

    def use() -> weakref.ref[Countdown]:
        countdown = Countdown(1, LookupError) if way == "failed" else Countdown(99)
        iterator = manager.iterate(countdown, prefetch=prefetch)
        if way != "never begun":
            next(iterator)
        if way == "exhausted":
            list(iterator)
        if way in ("closed", "failed"):
            iterator.close()
        return weakref.ref(countdown)

    gc.collect()
    gc.disable()
    try:
        with pytest.warns(ResourceWarning) if way == "collected" else nullcontext():
            seen = use()
        wait_until(lambda: manager.run(give(seen())) is None, "something keeps it")
    finally:
        gc.enable()


@pytest.mark.parametrize("way", ["closed", "collected"])
@on_plain_worker
def test_leaving_before_the_keeper_has_begun(make_manager: MakeManager, way: str) -> None:
    """Who gives up on the first item leaves nothing that begins later, and stays."""
    manager, numbers = make_manager(), Numbers()
    blocked, go_on = threading.Event(), threading.Event()
    expectation: dict[str, Any] = {
        "closed": nullcontext(),
        "collected": pytest.warns(ResourceWarning, match="never closed"),
    }

    def block() -> None:
        blocked.set()
        go_on.wait(LIMIT)

    manager.get_event_loop().call_soon_threadsafe(block)
    reached(blocked)
    iterator = manager.iterate(numbers.walk(), prefetch=2)

    def give_up(iterator: SyncIterator[int]) -> None:
        request_deadline.set(Deadline(0.01))
        with pytest.raises(TimeoutError):
            next(iterator)

    contextvars.copy_context().run(give_up, iterator)
    kept = [iterator]
    with Worker() as other:
        if way == "closed":
            closing = other.begin(iterator.close)
            go_on.set()
            closing.result(LIMIT)
        del iterator
        with expectation[way]:
            kept.clear()
        go_on.set()
    wait_until(lambda: open_on(manager) == 0, "it stays")
    assert not numbers.threads or numbers.closed.is_set()


@BOTH
@on_worker
def test_a_timeout_of_its_own_between_two_items(make_manager: MakeManager, prefetch: int) -> None:
    """A generator that limits its time is told wherever it stands, and may go on."""
    manager = make_manager()
    limits: list[asyncio.Timeout] = []

    async def limited(*, goes_on: bool) -> AsyncIterator[int]:
        try:
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                for number in range(9):
                    yield number
        except TimeoutError:
            if goes_on:
                yield 99

    async def let_it_be_over() -> None:
        limits[-1].reschedule(0)
        while not limits[-1].expired():
            await asyncio.sleep(0)

    for goes_on in (True, False):
        iterator = manager.iterate(limited(goes_on=goes_on), prefetch=prefetch)
        next(iterator)
        wait_until(lambda: open_on(manager) == 1, "it does not park")
        manager.run(let_it_be_over())
        assert (99 in list(iterator)) is goes_on


@BOTH
@on_worker
def test_a_task_group_of_its_own_between_two_items(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture, prefetch: int
) -> None:
    """What goes wrong in a child comes out of the next item, as the generator raises it."""
    manager = make_manager()
    children: list[asyncio.Event] = []

    async def child(event: asyncio.Event) -> None:
        await event.wait()
        raise LookupError

    async def grouped() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            children.append(asyncio.Event())
            group.create_task(child(children[0]))
            for number in range(99):
                yield number

    async def fail() -> None:
        children[0].set()

    iterator = manager.iterate(grouped(), prefetch=prefetch)
    next(iterator)
    wait_until(lambda: open_on(manager) == 1, "it does not park")
    manager.run(fail())
    wait_until(lambda: open_on(manager) == 0, "it does not end")
    with pytest.raises(ExceptionGroup) as caught:
        list(iterator)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert "grouped failed" in our_log(caplog)[0]
    assert list(iterator) == []


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@on_worker
def test_closing_what_swallows_a_cancellation(make_manager: MakeManager, prefetch: int) -> None:
    """One that yields when it is closed in the middle of an item is closed all the same."""
    manager, began, closed = make_manager(), threading.Event(), threading.Event()
    iterator = manager.iterate(_swallows(began, closed), prefetch=prefetch)
    with Worker() as other:
        waiting = other.begin(next, iterator)
        reached(began)
        iterator.close()
        assert closed.is_set()
        assert isinstance(waiting.exception(LIMIT), TaskCancelledError)
    assert open_on(manager) == 0


@on_worker
def test_collecting_what_swallows_a_cancellation(make_manager: MakeManager) -> None:
    """One that runs ahead, and yields when it is collected unclosed, does not stay either."""
    manager, began, closed = make_manager(), threading.Event(), threading.Event()
    kept = [manager.iterate(_swallows(began, closed, 0), prefetch=1)]
    assert next(kept[0]) == 0
    reached(began)
    with pytest.warns(ResourceWarning):
        kept.clear()
    reached(closed)


async def _swallows(
    began: threading.Event, closed: threading.Event, *first: int
) -> AsyncIterator[int]:
    try:
        for number in first:
            yield number
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        yield 1
    finally:
        closed.set()


@BOTH
@on_worker
def test_a_stop_ends_it(make_manager: MakeManager, prefetch: int) -> None:
    """A stopped manager has closed the generator, and the next item is a RuntimeError."""
    manager, numbers = make_manager(), Numbers(100)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    next(iterator)
    manager.stop()
    assert numbers.closed.is_set()
    with pytest.raises(RuntimeError, match="was stopped"):
        list(iterator)
    iterator.close()


@pytest.mark.parametrize("way", ["closed", "collected"])
@BOTH
@on_worker
def test_a_stop_lets_it_clean_up(make_manager: MakeManager, prefetch: int, way: str) -> None:
    """A generator that is being closed when the manager is stopped comes to its end."""
    manager, began, cleaned = make_manager(), threading.Event(), threading.Event()

    async def careful() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            began.set()
            await asyncio.sleep(0.05)  # a transaction is rolled back
            cleaned.set()

    kept = [manager.iterate(careful(), prefetch=prefetch)]
    next(kept[0])
    with Worker() as other:
        if way == "closed":
            closing = other.begin(kept[0].close)
            reached(began)
            manager.stop()
            outcome(closing)
        else:
            with pytest.warns(ResourceWarning):
                kept.clear()
            reached(began)
            manager.stop()
    assert cleaned.is_set()


@BOTH
@on_worker
def test_a_stop_wakes_who_waits_for_an_item(make_manager: MakeManager, prefetch: int) -> None:
    """A thread that waits for the next item gets the error, and does not hang."""
    manager, numbers = make_manager(), Numbers(stall_at=0)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    with Worker() as other:
        waiting = other.begin(next, iterator)
        reached(numbers.stalled)
        manager.stop()
        error = waiting.exception(LIMIT)
    assert isinstance(error, RuntimeError)
    assert "was stopped" in str(error)
    assert numbers.closed.is_set()


@BOTH
@on_worker
def test_one_thread_at_a_time(make_manager: MakeManager, prefetch: int) -> None:
    """Of two threads that wait for the same item, one gets it, and the other is told so."""
    manager, numbers = make_manager(), Numbers(2, stall_at=0)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    with Worker() as one, Worker() as another:
        waiting = {worker.begin(next, iterator) for worker in (one, another)}
        wait_until(lambda: any(one.done() for one in waiting), "neither is refused")
        refused, others = concurrent.futures.wait(waiting, 0)
        assert len(others) == 1
        with pytest.raises(RuntimeError, match="is busy with the call of another thread"):
            refused.pop().result()
        reached(numbers.stalled)
        numbers.go_on()
        assert outcome(others.pop()) == 0
    assert list(iterator) == [1]


@on_plain_worker
def test_an_item_that_was_not_ready_in_time(make_manager: MakeManager) -> None:
    """Whoever asks again while the first request still runs is told to close the iterator."""
    manager, stubborn = make_manager(grace=0.05), Stubborn()

    async def items() -> AsyncIterator[int]:
        await stubborn.wait()
        yield 1

    iterator = manager.iterate(items())
    in_time = contextvars.copy_context()
    in_time.run(request_deadline.set, Deadline(BEGIN))
    with pytest.raises(TimeoutError):
        in_time.run(next, iterator)
    with pytest.raises(RuntimeError, match="still at a call that was not done in time"):
        next(iterator)
    stubborn.release()
    iterator.close()


@on_worker
def test_a_cleanup_that_is_canceled(make_manager: MakeManager) -> None:
    """Where the generator's own code cancels its cleanup, the closing thread gets to know."""

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    iterator = make_manager().iterate(numbers())
    assert next(iterator) == 1
    with pytest.raises(asyncio.CancelledError):
        iterator.close()


@on_worker
def test_canceled_before_its_first_step(make_manager: MakeManager) -> None:
    """A stream whose task somebody cancels at once raises that, and begins nothing."""

    def cancel(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        task.cancel()
        return task

    manager, numbers = make_manager(), Numbers()
    loop = manager.get_event_loop()
    loop.set_task_factory(cancel)
    iterator = manager.iterate(numbers.walk())
    with pytest.raises(asyncio.CancelledError):
        next(iterator)
    loop.set_task_factory(None)
    assert list(iterator) == []
    assert not numbers.tasks
    assert manager.run(give("lives on")) == "lives on"


@on_worker
def test_any_async_iterable(make_manager: MakeManager) -> None:
    """What has `__aiter__` and `__anext__` only will do, and need not have a close method."""
    manager = make_manager()
    assert list(manager.iterate(Countdown())) == [2, 1, 0]
    with manager.iterate(Countdown(), prefetch=1) as iterator:
        assert next(iterator) == 2


@pytest.mark.parametrize(
    ("iterable", "prefetch", "error"),
    [([1], 0, TypeError), (None, 0, TypeError), ("gen", -1, ValueError), ("gen", 1.5, TypeError)],
)
@on_worker
def test_what_cannot_be_iterated(
    make_manager: MakeManager, iterable: Any, prefetch: Any, error: type[Exception]
) -> None:
    """A slip in an argument is told where it was made."""
    source = Numbers().walk() if iterable == "gen" else iterable
    with pytest.raises(error):
        make_manager().iterate(source, prefetch=prefetch)


def test_before_the_start() -> None:
    """A manager that is not started raises an error that tells why."""
    with pytest.raises(RuntimeError, match="not started"):
        AsyncioLoopManager().iterate(Numbers().walk())


@BOTH
@on_worker
def test_in_a_coroutine(make_manager: MakeManager, prefetch: int) -> None:
    """Where a loop runs, it says what to do instead."""
    manager = make_manager()
    iterator = manager.iterate(Numbers(1).walk(), prefetch=prefetch)

    async def blocks() -> None:
        next(iterator)

    with pytest.raises(RuntimeError, match="async for"):
        manager.run(blocks())
    assert list(iterator) == [0]


@BOTH
@on_worker
def test_an_item_in_a_coroutine(make_manager: MakeManager, prefetch: int) -> None:
    """Refused as often as it is asked for; nothing has begun then, nor asks to be closed."""
    manager, numbers = make_manager(), Numbers()
    kept = [manager.iterate(numbers.walk(), prefetch=prefetch)]

    async def blocks() -> None:
        with pytest.raises(RuntimeError, match="async for"):
            next(kept[0])

    for _ in range(2):
        asyncio.run(blocks())
        manager.run(give(1))
    kept.clear()  # without a warning
    assert not numbers.threads


@BOTH
@on_worker
def test_closing_in_a_coroutine(make_manager: MakeManager, prefetch: int) -> None:
    """Refused where a loop runs, and it can be closed elsewhere after that."""
    manager, numbers = make_manager(), Numbers(100)
    iterator = manager.iterate(numbers.walk(), prefetch=prefetch)
    next(iterator)

    async def blocks() -> None:
        iterator.close()

    with pytest.raises(RuntimeError, match="aclose"):
        asyncio.run(blocks())
    iterator.close()
    assert numbers.closed.is_set()


@BOTH
@on_worker
def test_stopped_before_the_first_item(make_manager: MakeManager, prefetch: int) -> None:
    """The item is refused; what never ran does not ask to be closed."""
    manager, numbers = make_manager(), Numbers()
    kept = [manager.iterate(numbers.walk(), prefetch=prefetch)]
    manager.stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        next(kept[0])
    kept.clear()  # without a warning
    assert not numbers.threads


@on_worker
def test_a_coroutine_that_iterates_in_a_thread(make_manager: MakeManager) -> None:
    """A sync function in a thread may iterate while the coroutine that waits for it runs."""
    manager = make_manager()

    async def outer(prefetch: int) -> list[int]:
        numbers = Numbers(9)
        return await asyncio.to_thread(
            lambda: list(manager.iterate(numbers.walk(), prefetch=prefetch))
        )

    assert manager.run(outer(0)) == list(range(9))
    assert manager.run(outer(2)) == list(range(9))


def fork_while_streaming() -> None:
    import os

    def main() -> None:
        manager = AsyncioLoopManager()
        manager.start()
        ahead = Numbers(100)
        iterators = [
            manager.iterate(Numbers(100).walk()),
            manager.iterate(ahead.walk(), prefetch=9),
        ]
        for iterator in iterators:
            next(iterator)
        wait_until(lambda: ahead.made >= 9, "it does not run ahead")
        pid = fork()
        if pid == 0:
            for iterator in iterators:
                try:
                    next(iterator)
                except RuntimeError as error:
                    say(f"child: {'after a fork' in str(error)}")
            os._exit(0)
        os.waitpid(pid, 0)
        for iterator in iterators:
            say(f"parent: {len(list(iterator))}")
        manager.stop()

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()


def test_in_a_forked_child() -> None:
    """The parent's streams are refused there, and go on in the parent."""
    lines = in_process(fork_while_streaming).splitlines()
    assert lines == ["child: True", "child: True", "parent: 99", "parent: 99"]


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="since Python 3.12")
@pytest.mark.parametrize("way", ["iterate", "prefetch", "context manager"])
@on_worker
def test_an_eager_task_factory(make_manager: MakeManager, way: str) -> None:
    """What ends, or fails, before its task is there is held by nobody after it."""
    manager = make_manager(loop_factory=None)  # uvloop takes it since 3.13.3 only
    manager.get_event_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))

    async def fail() -> AsyncIterator[int]:
        raise LookupError
        yield

    def use() -> None:
        if way == "context manager":
            with manager.wrap_async_context_manager(asynccontextmanager(fail)()):
                pass
        else:
            list(manager.iterate(fail(), prefetch=4 * (way == "prefetch")))

    for _ in range(2):
        with pytest.raises(LookupError):
            use()
    wait_until(lambda: open_on(manager) == 0, "it is held")
