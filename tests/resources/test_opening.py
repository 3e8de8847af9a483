"""`await resource()`: opened once on each loop, whoever comes, and whatever comes between."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Worker,
    give,
    on_worker,
    our_log,
    outcome,
    reached,
    wait_until,
)
from tests.resources.parts import Gate
from wsgi_async import AsyncioLoopManager, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from tests.core.conftest import LoopFactory, MakeManager
    from tests.resources.parts import Diary


@on_worker
def test_opened_once(make_manager: MakeManager, diary: Diary) -> None:
    """Every use on a loop gives the same instance, opened on that loop."""
    manager = make_manager()
    client = diary.resource("client")
    first = manager.run(client())
    assert manager.run(client()) is first
    assert first.loop is manager.get_event_loop()
    assert diary.lines == ["open client"]


@pytest.mark.parametrize("firstiter", [None, print, asyncio.Queue().put_nowait])
@on_worker
def test_hooks_of_somebody_else(make_manager: MakeManager, diary: Diary, firstiter: Any) -> None:
    """It is the running loop's own whatever hooks for async generators the thread has."""
    manager = make_manager()
    client = diary.resource("client")
    first = manager.run(client())

    async def look() -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=firstiter)
        try:
            return await client()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    assert manager.run(look()) is first
    assert diary.lines == ["open client"]


@on_worker
def test_concurrent_first_uses(make_manager: MakeManager, diary: Diary) -> None:
    """Those who come while it opens wait for the one opening."""
    manager = make_manager()
    client = diary.resource("client")

    async def together() -> set[Any]:
        return set(await asyncio.gather(*(client() for _ in range(20))))

    assert len(manager.run(together())) == 1
    assert diary.lines == ["open client"]


@on_worker
def test_a_waiter_is_cancelled(make_manager: MakeManager) -> None:
    """Whoever gives up, the first or a later one, the others get the instance all the same."""
    manager = make_manager()
    gate = Gate()

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await gate.hold()
        yield 5

    async def uses() -> list[Any]:
        tasks = [asyncio.create_task(slow()) for _ in range(3)]
        while not gate.entered.is_set():
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.sleep(0)
        gate.let_through()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = manager.run(uses())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, asyncio.CancelledError)
    assert third == 5
    assert gate.times == 1


@on_worker
def test_everybody_gives_up(make_manager: MakeManager) -> None:
    """An opening that nobody waits for any more goes on, for the next who comes."""
    manager = make_manager()
    gate = Gate()

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await gate.hold()
        yield 5

    with pytest.raises(TimeoutError):
        manager.run(slow(), timeout=BEGIN)
    gate.let_through()
    assert manager.run(slow(), timeout=20) == 5
    assert gate.times == 1


@on_worker
def test_a_failed_opening(make_manager: MakeManager) -> None:
    """All who wait get the error; the next use tries again."""
    manager = make_manager()
    errors = [ConnectionError("down")]

    @loop_resource
    async def flaky() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        if errors:
            raise errors.pop()
        yield 5

    async def together() -> list[Any]:
        return await asyncio.gather(*(flaky() for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in manager.run(together())] == ["down"] * 3
    assert manager.run(together()) == [5] * 3


class Uncopyable(Exception):
    """An error that cannot be made of its arguments."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} {where}")


class Copied(Exception):
    """An error whose copies are errors of another kind."""

    def __copy__(self) -> Exception:
        return LookupError(*self.args)


class Worded(Exception):
    """An error that makes a message of its argument, and of that message another one."""

    def __init__(self, host: str) -> None:
        super().__init__(f"cannot connect to {host}")


@pytest.mark.parametrize(
    "error", [Uncopyable("host", "down"), Copied("host down"), Worded("host")], ids=repr
)
@on_worker
def test_a_failed_opening_whose_error_has_no_copy(
    make_manager: MakeManager, error: Exception
) -> None:
    """All who wait get the error itself."""

    @loop_resource
    async def failing() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        if error:
            raise error
        yield 5

    async def together() -> list[Any]:
        return await asyncio.gather(*(failing() for _ in range(2)), return_exceptions=True)

    assert make_manager().run(together()) == [error] * 2


@on_worker
def test_the_notes_of_a_failed_opening(make_manager: MakeManager) -> None:
    """Every waiter gets its own copy of the error, with the notes that it had."""

    @loop_resource
    async def failing() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        error = ConnectionError("down")
        error.add_note("the second replica")
        if error:
            raise error
        yield 5

    async def use(note: str) -> list[str]:
        try:
            await failing()
        except ConnectionError as error:
            error.add_note(note)
            await asyncio.sleep(0)
            return error.__notes__
        return []

    async def together() -> list[list[str]]:
        return list(await asyncio.gather(use("first"), use("second")))

    assert make_manager().run(together()) == [
        ["the second replica", "first"],
        ["the second replica", "second"],
    ]


@on_worker
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()]
)
def test_a_failed_opening_of_another_kind(make_manager: MakeManager, error: BaseException) -> None:
    """Errors that asyncio treats apart reach the waiter too, and the loop lives on."""
    manager = make_manager()

    class Failing:
        async def __aenter__(self) -> int:
            return 1

        async def __aexit__(self, *_: object) -> None:
            pass

    fail = [True]

    def factory() -> Failing:
        if fail:
            raise error
        return Failing()

    resource = loop_resource(factory)
    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        manager.run(resource(), timeout=LIMIT)
    fail.clear()
    assert manager.run(resource()) == 1


@on_worker
def test_a_failure_that_nobody_waits_for(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged by name."""
    manager = make_manager()
    gate = Gate()

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await gate.hold()
        yield 5

    with pytest.raises(TimeoutError):
        manager.run(slow(), timeout=BEGIN)
    gate.let_through(ConnectionError("down"))

    async def ended() -> None:
        while not caplog.records:
            await asyncio.sleep(0)

    manager.run(ended(), timeout=20)
    [line] = our_log(caplog)
    assert "slow failed to open" in line


@on_worker
def test_nothing_keeps_an_error(make_manager: MakeManager) -> None:
    """What a failed opening held is freed at once, with its error, without the collector."""
    manager = make_manager()

    class Big:
        pass

    seen: list[weakref.ref[Big]] = []

    @loop_resource
    async def failing() -> AsyncIterator[Big]:
        big = Big()
        seen.append(weakref.ref(big))
        await asyncio.sleep(0)
        if big:
            raise ConnectionError
        yield big

    def use() -> None:
        with pytest.raises(ConnectionError):
            manager.run(failing())

    gc.collect()
    gc.disable()
    try:
        use()
        wait_until(lambda: manager.run(give(seen[0]())) is None, "something keeps it")
    finally:
        gc.enable()


@on_worker
def test_nothing_of_the_request(make_manager: MakeManager) -> None:
    """The instance does not see, nor keep, the context variables of who used it first."""
    manager = make_manager()

    class User:
        pass

    user: contextvars.ContextVar[User | None] = contextvars.ContextVar("user", default=None)

    @loop_resource
    async def seen() -> AsyncIterator[User | None]:
        yield user.get()

    def request() -> weakref.ref[User]:
        user.set(User())
        assert manager.run(seen()) is None
        one = user.get()
        assert one is not None
        return weakref.ref(one)

    reference = contextvars.copy_context().run(request)
    # The loop's thread may be a moment behind.
    wait_until(lambda: (gc.collect(), reference())[1] is None, "something keeps it")


@on_worker
def test_factories_of_context_managers(make_manager: MakeManager) -> None:
    """A class, or an `@asynccontextmanager` function, will do; it is entered and left."""
    manager = make_manager()
    lines: list[str] = []

    class Client:
        async def __aenter__(self) -> Client:
            lines.append("enter")
            return self

        async def __aexit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None:
            assert (kind, error, trace) == (None, None, None)
            lines.append("exit")

    @asynccontextmanager
    async def pool() -> AsyncIterator[str]:
        lines.append("enter pool")
        yield "a pool"
        lines.append("exit pool")

    client, a_pool = loop_resource(Client), loop_resource(pool)
    assert isinstance(manager.run(client()), Client)
    assert manager.run(a_pool()) == "a pool"
    manager.stop()
    assert lines == ["enter", "enter pool", "exit pool", "exit"]


@on_worker
def test_one_for_each_loop(make_manager: MakeManager, diary: Diary) -> None:
    """Two managers have an instance each, and two resources on one loop too."""
    one, two = make_manager("one"), make_manager("two")
    client, other = diary.resource("client"), diary.resource("other")
    instances = {one.run(client()), two.run(client()), one.run(other()), two.run(other())}
    assert len(instances) == 4


def test_many_threads_at_once(loop_factory: LoopFactory | None) -> None:
    """Loops that open the same resource at the same moment do not get in each other's way."""
    barrier = threading.Barrier(8)

    @loop_resource
    async def own() -> AsyncIterator[asyncio.AbstractEventLoop]:
        await asyncio.sleep(0)
        yield asyncio.get_running_loop()

    def serve() -> None:
        for _ in range(20):
            manager = AsyncioLoopManager(loop_factory=loop_factory)
            manager.start()
            barrier.wait(20)
            assert manager.run(own()) is manager.get_event_loop()
            manager.stop()

    workers = [Worker(f"worker {number}") for number in range(8)]
    for future in [worker.begin(serve) for worker in workers]:
        outcome(future)
    for worker in workers:
        worker.end()


@on_worker
def test_a_task_that_is_left_behind(
    make_manager: MakeManager, busy_switching: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The debug mode's warning of tasks that a call leaves means no resource's, nor its own."""
    manager = make_manager(debug=True)

    @loop_resource
    async def pumping() -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(asyncio.sleep(3600))
            yield pump
            pump.cancel()

    for _ in range(500):
        manager.run(pumping())
    assert our_log(caplog) == []


@on_worker
def test_two_threads_at_once(make_manager: MakeManager, worker: Worker) -> None:
    """A thread that comes while another one has it opened gets that instance."""
    manager = make_manager()
    gate = Gate()

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await gate.hold()
        yield 5

    future = worker.begin(lambda: manager.run(slow()))
    reached(gate.entered)
    other = manager.submit_task(slow())
    gate.let_through()
    assert (outcome(future), outcome(other)) == (5, 5)
