"""`run_in_calling_thread()`: sync code of a coroutine, on the thread that waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import wsgi_async
from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Worker,
    give,
    in_process,
    on_plain_worker,
    on_worker,
    our_log,
    reached,
    say,
)
from wsgi_async import TaskCancelledError, get_or_create_loop_manager, run_in_calling_thread
from wsgi_async.core.base.deadlines import Deadline, request_deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

ident = threading.get_ident


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def called_on() -> int:
    """The thread that runs a function for this coroutine."""
    await asyncio.sleep(0)
    return await run_in_calling_thread(ident)


def fail(error: BaseException) -> NoReturn:
    raise error


# -- where it runs ---------------------------------------------------------------------------------


@on_worker
def test_it_runs_on_the_waiting_thread_and_outside_of_the_loop(make_manager: MakeManager) -> None:
    """A function runs on the thread that called run(), where no loop is running meanwhile."""
    manager = make_manager()

    async def look() -> tuple[int, object]:
        return await called_on(), await run_in_calling_thread(running_loop)

    for _ in range(3):
        assert manager.run(look()) == (ident(), None)


@on_worker
def test_an_async_function_is_refused(make_manager: MakeManager) -> None:
    """Called like a sync one it would do nothing."""

    async def ask() -> None:
        with pytest.raises(TypeError, match=r"sleep.* is async\. Await it here"):
            await (await run_in_calling_thread(asyncio.sleep, 0))

    make_manager().run(ask())


def test_each_thread_runs_its_own(make_manager: MakeManager, runner: str, worker: Worker) -> None:
    """Of several threads that wait for coroutines on one loop each runs its own functions."""
    manager = worker.call(make_manager)
    together = asyncio.Barrier(2)

    async def meet() -> tuple[int, int]:
        await asyncio.wait_for(together.wait(), LIMIT)
        return await called_on(), await called_on()

    with Worker("other") as other:
        calls = [(one, one.begin(manager.run, meet())) for one in (worker, other)]
        for one, call in calls:
            assert call.result(LIMIT) == (one.thread.ident,) * 2


@on_worker
def test_arguments_and_result(make_manager: MakeManager) -> None:
    """It passes arguments of any name, and returns what the function does."""

    def echo(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    async def call() -> Any:
        return await run_in_calling_thread(echo, 1, fn=2, args=3, loop=4, context=5)

    assert make_manager().run(call()) == ((1,), {"fn": 2, "args": 3, "loop": 4, "context": 5})


@on_worker
def test_the_function_sees_the_coroutines_context_variables(make_manager: MakeManager) -> None:
    """Those that the caller has set, and those that the coroutine has."""

    async def call() -> list[str]:
        seen = [await run_in_calling_thread(variable.get)]
        variable.set("coroutine")
        return [*seen, await run_in_calling_thread(variable.get)]

    def view() -> list[str]:
        variable.set("view")
        return manager.run(call())

    manager = make_manager()
    assert contextvars.copy_context().run(view) == ["view", "coroutine"]


@on_worker
def test_functions_of_several_branches(make_manager: MakeManager) -> None:
    """They run one at a time and in order, beside what the loop does."""
    order: list[tuple[int, int]] = []

    def function(number: int) -> int:
        order.append((number, ident()))
        return number

    async def turns() -> str:
        for _ in range(10):
            await asyncio.sleep(0)
        return "turned"

    async def branches() -> list[Any]:
        asked = [run_in_calling_thread(function, number) for number in range(20)]
        return list(await asyncio.gather(*asked, turns()))

    assert make_manager().run(branches()) == [*range(20), "turned"]
    assert order == [(number, ident()) for number in range(20)]


def test_the_loop_goes_on_meanwhile(make_manager: MakeManager, worker: Worker) -> None:
    """Beside a loop that lives on a thread of its own, a function may wait for another branch."""
    manager = worker.call(make_manager)
    began, event = threading.Event(), threading.Event()

    def function() -> bool:
        began.set()
        return event.wait(LIMIT)

    async def branch() -> None:
        while not began.is_set():
            await asyncio.sleep(0)
        event.set()

    async def both() -> bool:
        waited, _ = await asyncio.gather(run_in_calling_thread(function), branch())
        return bool(waited)

    assert worker.call(lambda: manager.run(both()))


@on_worker
def test_streams_and_context_managers(make_manager: MakeManager) -> None:
    """The thread that iterates, or that enters and exits, runs their functions."""
    manager = make_manager()
    seen: list[int] = []

    async def items() -> AsyncIterator[int]:
        try:
            for _ in range(3):
                yield await called_on()
        finally:
            seen.append(await called_on())

    @asynccontextmanager
    async def opened() -> AsyncIterator[int]:
        yield await called_on()
        seen.append(await called_on())

    for prefetch in (0, 2):
        assert list(manager.iterate(items(), prefetch=prefetch)) == [ident()] * 3
    with manager.wrap_async_context_manager(opened()) as entered:
        assert entered == ident()
    assert seen == [ident()] * 3


# -- nobody waits ----------------------------------------------------------------------------------


@on_worker
def test_a_submitted_task_has_no_calling_thread(make_manager: MakeManager) -> None:
    """It raises at once, and says what to do; also while a thread waits for the task's future."""
    manager = make_manager()
    ran: list[int] = []

    async def background() -> None:
        await run_in_calling_thread(ran.append, 1)

    async def submit() -> None:
        await asyncio.wrap_future(manager.submit_task(background()))

    with pytest.raises(LookupError, match=r"No thread waits.*run\(\).*asyncio\.to_thread"):
        manager.submit_task(background()).result(LIMIT)
    with pytest.raises(LookupError, match="No thread waits"):
        manager.run(submit())
    assert ran == []


@on_worker
def test_a_task_that_outlives_its_call(make_manager: MakeManager) -> None:
    """When the call is over nobody runs its functions, but an outer call's thread still does."""
    manager = make_manager()
    go = asyncio.Event()

    async def later() -> int:
        await go.wait()
        return await called_on()

    async def begin() -> asyncio.Task[int]:
        return asyncio.create_task(later())

    async def end(task: asyncio.Task[int]) -> int:
        go.set()
        return await task

    async def outer() -> int:
        task = await run_in_calling_thread(lambda: manager.run(begin()))
        return await end(task)

    task = manager.run(begin())
    with pytest.raises(LookupError, match="No thread waits"):
        manager.run(end(task))
    go.clear()
    assert manager.run(outer()) == ident()


@on_worker
def test_a_stream_that_ends_without_its_task(make_manager: MakeManager) -> None:
    """What a task asks for when its stream has run ahead to its end raises, and hangs nobody."""
    manager = make_manager()
    asked: list[asyncio.Task[int]] = []

    async def items() -> AsyncIterator[int]:
        yield 1
        while not held.is_set():  # until the consumer has taken the first item
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(run_in_calling_thread(ident)))
        await asyncio.sleep(0)

    async def end() -> int:
        while not asked:
            await asyncio.sleep(0)
        return await asyncio.wait_for(asked[0], LIMIT)

    held = threading.Event()
    iterator = manager.iterate(items(), prefetch=2)
    assert next(iterator) == 1
    held.set()
    with pytest.raises(LookupError, match="No thread waits"):
        manager.run(end())
    assert list(iterator) == []


@on_worker
def test_a_stream_that_ends_without_a_canceled_task(make_manager: MakeManager) -> None:
    """What was canceled before the stream's end does not run, and stays canceled."""
    manager = make_manager()
    asked: list[asyncio.Task[int]] = []
    held = threading.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        while not held.is_set():  # until the consumer has taken the first item
            await asyncio.sleep(0)
        task = asyncio.create_task(run_in_calling_thread(ident))
        await asyncio.sleep(0)
        task.cancel()
        asked.append(task)

    async def end() -> bool:
        while not asked:
            await asyncio.sleep(0)
        await asyncio.wait(asked, timeout=LIMIT)
        return asked[0].cancelled()

    iterator = manager.iterate(items(), prefetch=2)
    assert next(iterator) == 1
    held.set()
    assert manager.run(end())
    assert list(iterator) == []


@on_worker
def test_a_loop_of_somebody_else(make_manager: MakeManager) -> None:
    """In a coroutine on another loop, within a function or not, no thread waits for ours."""
    manager = make_manager()

    def function() -> None:
        with pytest.raises(LookupError, match="No thread waits"):
            asyncio.run(called_on())

    async def call() -> bool:
        await run_in_calling_thread(function)
        return True

    assert manager.run(call())
    function()


# -- calls within --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 10])
@on_worker
def test_a_function_may_call_coroutines(make_manager: MakeManager, depth: int) -> None:
    """Sync code in coroutines in sync code: all of it on one thread, at any depth."""
    manager = make_manager()
    threads: list[int] = []

    def sync(left: int) -> int:
        threads.append(ident())
        return manager.run(layer(left))

    async def layer(left: int) -> int:
        await asyncio.sleep(0)
        return 1 + await run_in_calling_thread(sync, left - 1) if left else 0

    assert sync(depth) == depth
    assert threads == [ident()] * (depth + 1)


@on_worker
def test_a_function_may_wait_in_every_way(make_manager: MakeManager) -> None:
    """run(), submitted tasks, streams and context managers work in it as elsewhere."""
    manager = make_manager()

    async def items() -> AsyncIterator[int]:
        yield await called_on()

    @asynccontextmanager
    async def opened() -> AsyncIterator[int]:
        yield await called_on()

    def function() -> list[int]:
        with manager.wrap_async_context_manager(opened()) as entered:
            future = manager.submit_task(give(7))
            threads = [entered, manager.run(called_on()), wsgi_async.run(called_on())]
        return [*threads, *manager.iterate(items()), future.result(LIMIT)]

    async def call() -> list[int]:
        return await run_in_calling_thread(function)

    assert manager.run(call()) == [*[ident()] * 4, 7]


@on_worker
def test_another_managers_coroutine(make_manager: MakeManager) -> None:
    """A function may call another manager's loop, whose coroutine asks the same thread."""
    manager, other = make_manager(), make_manager("other")

    async def call() -> int:
        return await run_in_calling_thread(lambda: other.run(called_on()))

    assert manager.run(call()) == ident()


# -- exceptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
@on_worker
def test_what_it_raises(make_manager: MakeManager, kind: type[BaseException]) -> None:
    """The coroutine can catch it, whatever it is, or the caller of run(): the very exception."""
    manager = make_manager()
    error = kind("reason")

    async def catch() -> BaseException:
        with pytest.raises(kind) as caught:
            await run_in_calling_thread(fail, error)
        assert "fail" in [entry.name for entry in caught.traceback]
        return caught.value

    async def pass_on() -> None:
        await run_in_calling_thread(fail, error)

    assert manager.run(catch()) is error
    with pytest.raises(kind) as raised:
        manager.run(pass_on())
    assert raised.value is error
    assert manager.run(called_on()) == ident()


@on_worker
def test_stop_iteration(make_manager: MakeManager) -> None:
    """A `StopIteration`, which no future takes, becomes a `RuntimeError`."""

    async def call() -> None:
        await run_in_calling_thread(next, iter(()))

    with pytest.raises(RuntimeError, match="StopIteration") as raised:
        make_manager().run(call())
    assert isinstance(raised.value.__cause__, StopIteration)


# -- cancellation and time -------------------------------------------------------------------------


@on_worker
def test_canceled_before_it_has_begun(make_manager: MakeManager, runner: str) -> None:
    """A function whose coroutine is canceled before its turn comes does not run."""
    ran: list[int] = []
    canceled = threading.Event()

    def first(beside: bool) -> None:
        ran.append(1)
        if beside:  # the loop cancels the second one meanwhile
            reached(canceled)

    async def call(beside: bool) -> bool:
        ahead = asyncio.create_task(run_in_calling_thread(first, beside))
        task = asyncio.create_task(run_in_calling_thread(ran.append, 2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        canceled.set()
        await ahead
        return task.cancelled()

    assert make_manager().run(call(runner == "keeper"))
    assert ran == [1]


@on_worker
def test_canceled_while_it_runs(make_manager: MakeManager) -> None:
    """It is not interrupted; its coroutine is canceled, and the call goes on."""
    manager = make_manager()
    ended: list[bool] = []

    async def call() -> bool:
        def function() -> None:
            manager.get_event_loop().call_soon_threadsafe(task.cancel)
            ended.append(True)

        task = asyncio.create_task(run_in_calling_thread(function))
        await asyncio.wait([task])
        return task.done()

    assert manager.run(call())
    assert ended == [True]


@on_worker
def test_what_it_waits_for_is_canceled_with_the_coroutine(make_manager: MakeManager) -> None:
    """A run() in the function ends with its coroutine's cleanup, then the function, then we."""
    manager = make_manager()
    endless = Endless()
    order: list[str] = []

    def function() -> None:
        try:
            manager.run(endless.wait())
        finally:
            assert endless.cleaned.is_set()
            order.append("function")

    async def call() -> None:
        task = asyncio.create_task(run_in_calling_thread(function))
        while not endless.began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.append("coroutine")

    manager.run(call())
    assert order == ["function", "coroutine"]


@on_worker
def test_a_function_that_outlives_the_cancellation(make_manager: MakeManager) -> None:
    """What it raises after it is the coroutine's; what it returns is dropped."""
    manager = make_manager()

    def swallow(endless: Endless, error: Exception | None) -> str:
        with pytest.raises(TaskCancelledError):
            manager.run(endless.wait())
        assert manager.run(called_on()) == ident()  # its cleanup may call coroutines
        if error is not None:
            raise error
        return "dropped"

    async def call(error: Exception | None) -> Any:
        endless = Endless()
        task = asyncio.create_task(run_in_calling_thread(swallow, endless, error))
        while not endless.began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return "canceled" if task.cancelled() else task.exception()

    error = ValueError("in the cleanup")
    assert manager.run(call(None)) == "canceled"
    assert manager.run(call(error)) is error


@pytest.mark.parametrize("depth", [1, 3])
@on_worker
def test_a_timeout_ends_what_functions_wait_for(make_manager: MakeManager, depth: int) -> None:
    """The time limit of the outermost run() holds at any depth, on another manager's loop too."""
    managers = [make_manager(), make_manager("other")]
    endless = Endless()
    ended: list[type[BaseException]] = []

    async def call(left: int) -> None:
        def function() -> None:
            try:
                managers[left % 2].run(call(left - 1) if left else endless.wait())
            except BaseException as error:
                ended.append(type(error))
                raise

        await run_in_calling_thread(function)

    with pytest.raises(TimeoutError, match="within"):
        managers[0].run(call(depth), timeout=BEGIN)
    assert endless.cleaned.is_set()
    assert ended == [TaskCancelledError] * (depth + 1)
    assert managers[0].run(called_on()) == ident()


@on_worker
def test_a_timeout_while_it_runs(make_manager: MakeManager) -> None:
    """A time limit that passes while a function runs counts when that has ended."""
    ended: list[bool] = []

    def function() -> None:
        time.sleep(BEGIN * 2)  # longer than the time limit
        ended.append(True)

    async def call() -> None:
        await run_in_calling_thread(function)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        make_manager().run(call(), timeout=BEGIN)
    assert ended == [True]


@on_worker
def test_cleanup_after_a_timeout(make_manager: MakeManager) -> None:
    """A coroutine whose time has passed may still ask for functions as it cleans up."""
    cleaned: list[int] = []

    async def call() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append(await called_on())

    with pytest.raises(TimeoutError):
        make_manager().run(call(), timeout=BEGIN)
    assert cleaned == [ident()]


@on_worker
def test_the_requests_deadline(make_manager: MakeManager) -> None:
    """It holds in the function too: calls end at it, and none begins after it."""
    manager = make_manager()
    endless = Endless()
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    def function() -> None:
        with pytest.raises(TimeoutError, match="deadline"):
            manager.run(endless.wait())
        with pytest.raises(TimeoutError, match="deadline"):
            manager.run(begin())
        begun.append(2)

    async def call() -> None:
        await run_in_calling_thread(function)

    def view() -> None:
        request_deadline.set(Deadline(BEGIN))
        with pytest.raises(TimeoutError, match="deadline"):
            manager.run(call())

    contextvars.copy_context().run(view)
    assert endless.cleaned.is_set()
    assert begun in ([], [2])  # the function gets either error, or is canceled with its coroutine


@on_worker
def test_nothing_of_it_is_logged(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a cancellation nor an exception that the coroutine gets leaves a line in the log."""
    manager = make_manager()
    endless = Endless()

    async def call() -> None:
        task = asyncio.create_task(run_in_calling_thread(manager.run, endless.wait()))
        while not endless.began.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ValueError, match="reason"):
            await run_in_calling_thread(fail, ValueError("reason"))

    manager.run(call())
    assert not our_log(caplog)
    assert "never retrieved" not in caplog.text


def test_a_stop_meanwhile(make_manager: MakeManager, runner: str, worker: Worker) -> None:
    """A manager that is stopped while a function runs gives its caller the error that tells why."""
    manager: AsyncioLoopManager = worker.call(make_manager)
    began, go = threading.Event(), threading.Event()

    def function() -> None:
        began.set()
        assert go.wait(LIMIT)

    async def call() -> None:
        await run_in_calling_thread(function)

    waiting = worker.begin(lambda: manager.run(call()))
    reached(began)
    manager.stop(0.1)
    go.set()
    with pytest.raises(RuntimeError, match="stopped"):
        waiting.result(LIMIT)


# -- without asgiref -------------------------------------------------------------------------------


def child(resident: bool) -> None:
    """Uses it in a process without asgiref."""
    assert not [name for name in sys.modules if name.startswith("asgiref")]

    def view() -> bool:
        manager = get_or_create_loop_manager()
        manager.start()

        async def call() -> bool:
            nested = await run_in_calling_thread(lambda: manager.run(called_on()))
            return nested == await called_on()

        return manager.run(call())

    with Worker(resident=resident) as worker:
        assert worker.call(view)
    assert not [name for name in sys.modules if name.startswith("asgiref")]
    say("done")


@pytest.mark.parametrize("resident", [False, True])
def test_asgiref_is_not_needed(resident: bool) -> None:
    """It works where asgiref is not imported, and does not import it."""
    assert in_process(child, resident) == "done\n"


def test_the_work_of_another_thread_is_not_canceled_with_it(make_manager: MakeManager) -> None:
    """A thread that the function has started, in its context, has its own calls."""
    manager, begun, go_on = make_manager(), threading.Event(), asyncio.Event()
    found: list[object] = []

    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    def run() -> None:
        found.append(manager.run(work()))

    threads: list[threading.Thread] = []
    limits: list[asyncio.Timeout] = []
    loop = manager.get_event_loop()

    def function() -> None:
        context = contextvars.copy_context()
        threads.append(threading.Thread(target=context.run, args=(run,)))
        threads[0].start()
        reached(begun)
        manager.run(wait())  # canceled, as it is the function's

    async def wait() -> None:
        # Not before this runs: a function that waits for nothing is not told of a cancellation.
        limits[0].reschedule(loop.time())
        await asyncio.sleep(LIMIT)

    async def ask() -> None:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await run_in_calling_thread(function)

    with pytest.raises(TimeoutError):
        manager.run(ask())
    manager.get_event_loop().call_soon_threadsafe(go_on.set)
    threads[0].join(LIMIT)
    assert found == ["done"]


@on_plain_worker
def test_an_interrupted_function_keeps_no_other_from_running(make_manager: MakeManager) -> None:
    """Two tasks have asked; the thread runs both functions at the end of its wait."""
    manager, canceled = make_manager(), threading.Event()
    tasks: list[asyncio.Task[Any]] = []

    def first() -> NoReturn:
        assert canceled.wait(LIMIT)
        raise KeyboardInterrupt

    async def ask_first() -> None:
        try:
            await run_in_calling_thread(first)
        except asyncio.CancelledError:
            canceled.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks.append(asyncio.create_task(ask_first()))
        tasks.append(asyncio.create_task(run_in_calling_thread(str, "second")))
        await asyncio.sleep(0)
        loop.call_later(0.01, tasks[0].cancel)

    with pytest.raises(KeyboardInterrupt):
        manager.run(main())

    async def collect() -> Any:
        return await asyncio.wait_for(tasks[1], LIMIT)

    assert manager.run(collect()) == "second"


# -- calls that share a context --------------------------------------------------------------


async def name_of_caller() -> str:
    return await run_in_calling_thread(lambda: threading.current_thread().name)


def test_a_nested_call_in_the_same_context_takes_no_thread_away(make_manager: MakeManager) -> None:
    """After a `run()` in a function, in the outer call's own context, the thread still serves."""
    manager, shared = make_manager(), contextvars.copy_context()

    async def outer() -> str:
        await run_in_calling_thread(lambda: manager.run(give(1), context=shared))
        return await name_of_caller()

    assert manager.run(outer(), context=shared) == threading.current_thread().name


def test_calls_of_two_threads_in_one_context_keep_their_threads(make_manager: MakeManager) -> None:
    """Each coroutine's functions run on its own thread, also if the other one came later."""
    manager, shared = make_manager(), contextvars.copy_context()
    both = asyncio.Barrier(2)

    async def call() -> str:
        await both.wait()
        return await name_of_caller()

    with Worker("one") as one, Worker("other") as other:
        calls = [worker.begin(manager.run, call(), context=shared) for worker in (one, other)]
        assert [call.result(LIMIT) for call in calls] == ["one", "other"]
