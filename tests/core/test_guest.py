"""A manager on a loop that somebody else runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

import wsgi_async
from tests.core.support import LIMIT, Worker, in_process, in_thread, our_log
from wsgi_async import (
    AsyncioLoopManager,
    ManagerStateError,
    RunningLoopError,
    async_to_sync_future,
    loop_resource,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.core.conftest import MakeManager


async def here() -> tuple[asyncio.AbstractEventLoop, int]:
    return asyncio.get_running_loop(), threading.get_ident()


async def forever() -> None:
    await asyncio.Event().wait()


def test_other_threads_run_on_the_running_loop() -> None:
    """run(), submit_task() and iterate() of other threads are carried out on the loop."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        assert manager.get_event_loop() is asyncio.get_running_loop()
        expected = await here()
        assert await asyncio.to_thread(manager.run, here()) == expected
        assert await manager.submit_task(here()) == expected
        assert await asyncio.to_thread(lambda: list(manager.iterate(numbers()))) == [0, 1, 2]
        await asyncio.to_thread(manager.stop)
        assert manager.state == "stopped"

    asyncio.run(main())


def test_run_is_refused_on_the_loop_itself() -> None:
    """In a coroutine run() says what to do instead of blocking the loop."""

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        with pytest.raises(RuntimeError, match="await"):
            manager.run(here())
        await asyncio.to_thread(manager.stop)

    asyncio.run(main())


def test_a_stop_ends_its_own_work_only() -> None:
    """stop() cancels what came by the manager and closes resources; other tasks go on."""
    events: list[str] = []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        events.append("open")
        yield
        events.append("closed")

    async def use() -> None:
        await client()
        try:
            await forever()
        finally:
            events.append("cleaned up")

    async def main() -> None:
        other = asyncio.ensure_future(forever())
        manager = AsyncioLoopManager(on_stop=lambda: events.append("on_stop"))
        await manager.start_on_running_loop()
        future = manager.submit_task(use())
        while not events:
            await asyncio.sleep(0)
        await asyncio.to_thread(manager.stop)
        assert events == ["open", "on_stop", "cleaned up", "closed"]
        with pytest.raises(ManagerStateError):
            future.result(0)
        assert not other.done()
        other.cancel()

    asyncio.run(main())


def test_it_starts_again() -> None:
    """After a stop it can be started again, on another loop or with a thread of its own."""
    manager = AsyncioLoopManager()

    async def main() -> None:
        await manager.start_on_running_loop()
        assert (await asyncio.to_thread(manager.run, here()))[0] is asyncio.get_running_loop()
        await asyncio.to_thread(manager.stop)

    asyncio.run(main())
    asyncio.run(main())
    with manager:
        assert manager.run(here())[1] != threading.get_ident()


def test_a_loop_that_ends_first_leaves_nobody_waiting() -> None:
    """A loop closed under the manager stops that, and waiting threads get an error."""
    manager = AsyncioLoopManager()
    errors: list[BaseException] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            manager.run(forever())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)

    async def main() -> None:
        await manager.start_on_running_loop()
        thread.start()
        while "in_flight=1" not in repr(manager):
            await asyncio.sleep(0)

    asyncio.run(main())
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert isinstance(errors[0], (ManagerStateError, asyncio.CancelledError))
    assert manager.state == "stopped"


def test_a_loop_that_ends_before_it_begins_a_call() -> None:
    """A call that the loop has not begun when it is closed fails, and its coroutine is closed."""
    manager = AsyncioLoopManager()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(manager.start_on_running_loop())
    future = manager.submit_task(forever())
    loop.close()
    with pytest.raises(ManagerStateError, match="was stopped before this call was done"):
        future.result(LIMIT)
    with pytest.raises(ManagerStateError, match="was stopped"):
        manager.run(here())


def test_a_start_hook_that_raises() -> None:
    """What on_start raises comes out of the start, and the manager is not usable."""

    def fail() -> None:
        raise LookupError("no network")

    async def main() -> None:
        manager = AsyncioLoopManager(on_start=fail)
        with pytest.raises(LookupError, match="no network"):
            await manager.start_on_running_loop()
        while manager.state != "stopped":
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_start_hook_that_raises_after_a_stop() -> None:
    """If another thread stops the manager meanwhile, what on_start raises still comes out."""

    async def main() -> None:
        async def fail() -> None:
            await asyncio.to_thread(manager.stop, 0)
            raise LookupError("no network")

        manager = AsyncioLoopManager(on_start=fail)
        with pytest.raises(LookupError, match="no network"):
            await manager.start_on_running_loop()
        assert manager.state == "stopped"

    asyncio.run(main())


def test_a_start_that_is_closed_in_its_hook() -> None:
    """A coroutine of a start that is dropped half-way, as at a loop's end, leaves no manager."""

    async def main() -> None:
        manager = AsyncioLoopManager(on_start=forever)
        starting = manager.start_on_running_loop()
        starting.send(None)
        starting.close()
        while manager.state != "stopped":
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_start_after_a_start_hook_that_raised() -> None:
    """The start can be tried again at once, and `on_stop` is called only after a start."""
    failing, events = [True], list[str]()

    def start() -> None:
        if failing:
            failing.clear()
            raise LookupError("no network")
        events.append("on_start")

    async def main() -> None:
        manager = AsyncioLoopManager(on_start=start, on_stop=lambda: events.append("on_stop"))
        with pytest.raises(LookupError, match="no network"):
            await manager.start_on_running_loop()
        await manager.start_on_running_loop()
        await asyncio.to_thread(manager.stop)

    asyncio.run(main())
    assert events == ["on_start", "on_stop"]


def test_a_task_that_resists_a_stop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """What does not end in time is logged by name, and the stop returns."""

    async def resist() -> None:
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                if released:
                    raise

    released: list[bool] = []

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        manager.submit_task(resist())
        await asyncio.sleep(0)
        await asyncio.to_thread(manager.stop, 0.2)
        released.append(True)

    asyncio.run(main())
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("resist did not end in time when the manager was stopped" in w for w in warnings)


def test_a_stop_hook_that_is_canceled_does_not_prevent_the_stop() -> None:
    """Where on_stop awaits what it has canceled, tasks and resources are ended all the same."""
    events: list[str] = []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        yield
        events.append("closed")

    async def use() -> None:
        await client()
        try:
            await forever()
        finally:
            events.append("cleaned up")

    async def cancel_and_await() -> None:
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        task.cancel()
        await task

    async def main() -> None:
        manager = AsyncioLoopManager(on_stop=cancel_and_await)
        await manager.start_on_running_loop()
        manager.submit_task(use())
        await manager.submit_task(client())
        await asyncio.to_thread(manager.stop)
        assert events == ["cleaned up", "closed"]

    asyncio.run(main())


def test_the_end_of_its_former_loop_leaves_a_manager_alone() -> None:
    """A manager that was stopped and started elsewhere lives on when its former loop is closed."""
    manager, other = AsyncioLoopManager(), AsyncioLoopManager()

    async def main() -> None:
        await manager.start_on_running_loop()
        await other.start_on_running_loop()
        await asyncio.to_thread(manager.stop)
        manager.start()

    asyncio.run(main())
    assert other.state == "stopped"
    assert manager.run(here())[1] != threading.get_ident()
    manager.stop()


def test_a_thread_cannot_wait_for_its_own_loop() -> None:
    """run() is refused on the thread of a loop that is not running: it would wait for itself."""

    def work() -> None:
        manager = AsyncioLoopManager()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.start_on_running_loop())
        with pytest.raises(RunningLoopError, match="run_until_complete"):
            manager.run(here(), timeout=LIMIT)
        assert wsgi_async.run(here(), timeout=LIMIT)[0] is not loop
        loop.close()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(LIMIT)


def wait_at_rest() -> None:
    manager, loop = AsyncioLoopManager(), asyncio.new_event_loop()
    loop.run_until_complete(manager.start_on_running_loop())
    future = manager.submit_task(here())
    waits: list[Callable[[], object]] = [future.result, future.exception, future.wait]
    for wait in waits:
        with pytest.raises(RunningLoopError, match="run_until_complete"):
            wait()
    assert loop.run_until_complete(asyncio.wrap_future(future, loop=loop))[0] is loop
    assert future.result()[0] is loop
    loop.close()


def test_a_thread_cannot_wait_for_a_future_of_its_own_loop() -> None:
    """A future's waits are refused, as run() is, on the thread of a loop that is not running."""
    in_process(wait_at_rest)


def test_a_stop_waits_for_the_cleanup_of_a_stream_and_names_what_it_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream that is being closed cleans up to its end; tasks are logged as on other loops."""
    caplog.set_level(logging.INFO)
    events: list[str] = []
    closing, go = asyncio.Event(), asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closing.set()
            await go.wait()
            events.append("cleaned up")

    async def let_go() -> None:
        try:
            await forever()
        finally:
            go.set()

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        manager.submit_task(let_go())
        stream = manager.iterate(numbers())
        assert await asyncio.to_thread(next, stream) == 1
        close = asyncio.ensure_future(asyncio.to_thread(stream.close))
        await closing.wait()
        await asyncio.to_thread(manager.stop)
        await asyncio.wait([close])

    asyncio.run(main())
    assert events == ["cleaned up"]
    assert any("its stop has cut off" in r.getMessage() for r in caplog.records)


def test_what_hangs_in_a_stop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """An on_stop and a resource that do not end in time are logged by name, and canceled."""
    canceled: list[str] = []

    async def hang(name: str) -> None:
        try:
            await forever()
        finally:
            canceled.append(name)

    @loop_resource
    async def client() -> AsyncIterator[None]:
        yield
        await hang("client")

    async def main() -> None:
        manager = AsyncioLoopManager(on_stop=lambda: hang("on_stop"))
        await manager.start_on_running_loop()
        await manager.submit_task(client())
        await asyncio.to_thread(manager.stop, 0.3)
        assert manager.state == "stopped"

    asyncio.run(main())
    assert canceled == ["on_stop", "client"]
    names = ["its on_stop", "the loop resource"]
    logged = [line for line in our_log(caplog) if "did not end in time" in line]
    assert [name in line for name, line in zip(names, logged, strict=True)] == [True, True]


def test_a_stop_beside_a_task_that_uses_a_resource() -> None:
    """A stop closes a resource once, even if another task of the loop opens it again and again."""
    events: list[str] = []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        events.append("open")
        yield
        events.append("closed")

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        await client()
        other = asyncio.ensure_future(use_again_and_again())
        await asyncio.to_thread(manager.stop, 5)
        assert events == ["open", "closed", "open"]
        other.cancel()

    async def use_again_and_again() -> None:
        while True:
            await client()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_stop_without_time(caplog: pytest.LogCaptureFixture) -> None:
    """A stop whose time is over closes resources, or names them, as on other loops."""
    events: list[str] = []

    @loop_resource
    async def quick() -> AsyncIterator[None]:
        yield
        events.append("closed")

    @loop_resource
    async def slow() -> AsyncIterator[None]:
        yield
        await forever()

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        await quick()
        await slow()
        await asyncio.to_thread(manager.stop, 0)
        while manager.state != "stopped":
            await asyncio.sleep(0)

    asyncio.run(main())
    assert events == ["closed"]
    assert ["slow did not end in time" in line for line in our_log(caplog)].count(True) == 1


def test_a_step_of_a_stop_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """If the task factory fails, only on_stop is skipped, and the log tells you."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise LookupError("no tasks")

    @loop_resource
    async def client() -> AsyncIterator[None]:
        yield
        events.append("closed")

    events: list[str] = []

    async def main() -> None:
        manager = AsyncioLoopManager(on_stop=lambda: events.append("on_stop"))
        await manager.start_on_running_loop()
        await manager.submit_task(client())
        stopping = asyncio.ensure_future(asyncio.to_thread(manager.stop))
        asyncio.get_running_loop().set_task_factory(fail)
        await stopping
        asyncio.get_running_loop().set_task_factory(None)

    asyncio.run(main())
    assert events == ["closed"]
    assert any("a step of its stop failed" in line for line in our_log(caplog))


def test_a_stop_from_elsewhere_while_the_loop_stands_still() -> None:
    """Another thread's stop does not wait for a loop that nobody runs, which lives on."""

    def work() -> None:
        manager, loop = AsyncioLoopManager(), asyncio.new_event_loop()
        loop.run_until_complete(manager.start_on_running_loop())
        in_thread(manager.stop)
        assert manager.state == "stopped"
        assert loop.run_until_complete(here())[0] is loop
        loop.close()

    in_thread(work)


def test_a_close_in_the_middle_of_a_stop() -> None:
    """Closing the loop while it runs is refused by asyncio, and the stop goes on."""
    events: list[str] = []

    async def close() -> None:
        with pytest.raises(RuntimeError, match="running event loop"):
            asyncio.get_running_loop().close()
        await asyncio.sleep(0)
        events.append("on_stop")

    async def main() -> None:
        manager = AsyncioLoopManager(on_stop=close)
        await manager.start_on_running_loop()
        await asyncio.to_thread(manager.stop)
        assert manager.state == "stopped"

    asyncio.run(main())
    assert events == ["on_stop"]


def test_a_close_that_somebody_replaced_before() -> None:
    """A library's own `close()` of the loop is called after the manager has stopped."""
    cleaned: list[bool] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        plain = loop.close

        def close() -> None:
            cleaned.append(True)
            plain()

        setattr(loop, "close", close)  # noqa: B010 - a method, as far as types go
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        await asyncio.to_thread(manager.stop)

    asyncio.run(main())
    assert cleaned == [True]


@pytest.mark.parametrize("first", [0, 1])
def test_two_managers_on_a_loop(first: int) -> None:
    """When one of them has stopped, the end of the loop still ends the other one."""
    managers = [AsyncioLoopManager("a"), AsyncioLoopManager("b")]

    async def main() -> None:
        for manager in managers:
            await manager.start_on_running_loop()
        await asyncio.to_thread(managers[first].stop)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    future = managers[not first].submit_task(forever())
    loop.close()
    with pytest.raises(ManagerStateError, match="was stopped"):
        future.result(0)
    assert [manager.state for manager in managers] == ["stopped"] * 2


def test_a_guest_on_a_loop_of_ours(make_manager: MakeManager) -> None:
    """The loop of another manager still cannot be closed after the guest has stopped."""
    host, guest = make_manager("host"), AsyncioLoopManager("guest")

    async def visit() -> None:
        await guest.start_on_running_loop()
        await asyncio.to_thread(guest.stop)

    host.run(visit())
    with pytest.raises(RunningLoopError, match="stop"):
        host.get_event_loop().close()
    assert host.run(here())[0] is host.get_event_loop()


class Closed(asyncio.SelectorEventLoop):
    """As a loop that is an extension type: nothing can be put in the place of its `close()`."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "close":
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_a_loop_that_takes_no_attributes() -> None:
    """A manager works on a loop whose `close()` cannot be replaced."""

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        assert (await asyncio.to_thread(manager.run, here()))[0] is asyncio.get_running_loop()
        await asyncio.to_thread(manager.stop)

    with asyncio.Runner(loop_factory=Closed) as runner:
        runner.run(main())


def test_the_second_guest_of_a_loop_ends_its_waiters_too() -> None:
    """Of two guests the first one's stop leaves the other in its place."""

    async def main() -> None:
        one, two = AsyncioLoopManager("one"), AsyncioLoopManager("two")
        await one.start_on_running_loop()
        await two.start_on_running_loop()
        await asyncio.to_thread(one.stop)
        future = asyncio.get_running_loop().create_future()
        wrapped = async_to_sync_future(future)
        with Worker() as waiter:
            waiting = waiter.begin(wrapped.result, LIMIT)
            await asyncio.to_thread(two.stop)
            error = await asyncio.to_thread(waiting.exception, LIMIT)
        assert isinstance(error, RuntimeError)
        assert "'two'" in str(error)

    asyncio.run(main())
