"""What becomes of open resources when their manager is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Endless, Worker, on_worker, our_log, outcome, reached
from tests.resources.parts import Gate
from wsgi_async import (
    AsyncioLoopManager,
    ManagerStateError,
    SyncFuture,
    current_manager,
    get_or_create_loop_manager,
    loop_resource,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import LoopFactory, MakeManager
    from tests.resources.parts import Diary
    from wsgi_async import LoopResource


@on_worker
def test_in_reverse_order(make_manager: MakeManager, diary: Diary) -> None:
    """The one that was opened last is closed first."""
    manager = make_manager()
    for name in "abc":
        manager.run(diary.resource(name)())
    manager.stop()
    assert diary.lines == ["open a", "open b", "open c", "close c", "close b", "close a"]


@on_worker
def test_in_the_task_that_opened_it(make_manager: MakeManager, diary: Diary) -> None:
    """Opening and closing are one task's, whoever used it first and stopped the manager."""
    manager = make_manager()
    instance = manager.run(diary.resource("client")())
    manager.stop()
    assert instance.task is not None
    assert instance.closed_by is instance.task
    assert instance.task.done()


@on_worker
def test_one_that_uses_another(make_manager: MakeManager, diary: Diary) -> None:
    """What a resource opens for itself is closed after it."""
    manager = make_manager()
    pool = diary.resource("pool")
    store = diary.resource("store", lambda: pool)
    manager.run(store())
    manager.stop()
    assert diary.lines == ["open pool", "open store", "close store", "close pool"]


@on_worker
def test_one_that_uses_many(make_manager: MakeManager, diary: Diary) -> None:
    """Several uses of one another, side by side, open each once and close users first."""
    manager = make_manager()
    base = diary.resource("base")
    left, right = diary.resource("left", lambda: base), diary.resource("right", lambda: base)

    @loop_resource
    async def top() -> AsyncIterator[None]:
        await asyncio.gather(left(), right(), base())
        diary.lines.append("open top")
        yield
        diary.lines.append("close top")

    manager.run(top())
    manager.stop()
    assert sorted(diary.lines[:4]) == ["open base", "open left", "open right", "open top"]
    assert (diary.lines[0], diary.lines[3]) == ("open base", "open top")
    assert (diary.lines[4], diary.lines[7]) == ("close top", "close base")


@on_worker
def test_tasks_may_use_them_to_the_last(make_manager: MakeManager, diary: Diary) -> None:
    """A task that is cancelled by the stop cleans up with what is open, or opens it then."""
    manager = make_manager()
    opened, unopened = diary.resource("opened"), diary.resource("unopened")
    began = threading.Event()

    async def work() -> None:
        await opened()
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await opened()
            await unopened()
            diary.lines.append("cleaned up")

    manager.submit_task(work())
    reached(began)
    manager.stop()
    assert diary.lines == [
        "open opened",
        "open unopened",
        "cleaned up",
        "close unopened",
        "close opened",
    ]


@on_worker
def test_a_task_waits_for_an_opening(make_manager: MakeManager) -> None:
    """An opening that is under way is not cut short while a cancelled task waits for it."""
    manager = make_manager()
    gate, began = Gate(), threading.Event()
    lines: list[str] = []

    @loop_resource
    async def slow() -> AsyncIterator[int]:
        await gate.hold()
        yield 5
        lines.append("closed")

    async def work() -> None:
        began.set()
        try:
            await slow()
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_soon(gate.let_through)
            lines.append(f"got {await slow()}")
            raise

    manager.submit_task(work())
    reached(gate.entered)
    manager.stop()
    assert lines == ["got 5", "closed"]
    assert gate.times == 1


@on_worker
def test_an_opening_that_nobody_waits_for(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It is cancelled, and so are those that it waits for itself."""
    manager = make_manager()
    gate = Gate()
    lines: list[str] = []

    @loop_resource
    async def inner() -> AsyncIterator[int]:
        try:
            await gate.hold()
            yield 5
        finally:
            lines.append("inner")

    @loop_resource
    async def outer() -> AsyncIterator[int]:
        try:
            yield await inner()
        finally:
            lines.append("outer")

    manager.submit_task(outer())
    reached(gate.entered)
    manager.stop()
    assert sorted(lines) == ["inner", "outer"]
    assert gate.times == 1
    assert our_log(caplog) == []


@on_worker
def test_what_a_resource_runs(make_manager: MakeManager) -> None:
    """Tasks that an instance has started live until it is closed: its users may need them."""
    manager = make_manager()
    lines: list[str] = []
    began = threading.Event()

    @loop_resource
    async def echo() -> AsyncIterator[asyncio.Queue[asyncio.Future[None]]]:
        queue: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

        async def answer() -> None:
            while True:
                (await queue.get()).set_result(None)

        async with asyncio.TaskGroup() as group:
            pump = group.create_task(answer())
            yield queue
            done = asyncio.get_running_loop().create_future()
            queue.put_nowait(done)
            await done
            lines.append("goodbye said")
            pump.cancel()

    async def ask() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            done = asyncio.get_running_loop().create_future()
            (await echo()).put_nowait(done)
            await done
            lines.append("answered")

    manager.run(echo())
    manager.submit_task(ask())
    reached(began)
    manager.stop()
    assert lines == ["answered", "goodbye said"]


class Batches:
    """A resource that has the manager run its pump, and sends the rest when it is closed."""

    def __init__(self) -> None:
        self.lines: list[object] = []
        self.future: SyncFuture[int]

    def resource(self) -> LoopResource[asyncio.Queue[bool]]:
        """The resource."""

        async def batches() -> AsyncIterator[asyncio.Queue[bool]]:
            queue: asyncio.Queue[bool] = asyncio.Queue()
            begun = asyncio.Event()
            self.future = current_manager().submit_task(self._pump(queue, begun))
            await begun.wait()
            queue.put_nowait(True)
            yield queue
            self.lines.append("closing")
            queue.put_nowait(False)
            self.lines.append(await self.future)

        return loop_resource(batches)

    async def _pump(self, queue: asyncio.Queue[bool], begun: asyncio.Event) -> int:
        begun.set()
        sent = 0
        while await queue.get():
            sent += 1
        return sent


@pytest.mark.parametrize("stop_elsewhere", [False, True])
@on_worker
def test_a_job_of_a_resource(make_manager: MakeManager, stop_elsewhere: bool) -> None:
    """What a resource has submitted to its manager runs until the resource is closed."""
    manager, batches = make_manager(), Batches()
    manager.run(batches.resource()())
    if stop_elsewhere:
        # Its own thread then waits for that one, in its loop if it lives here.
        with Worker() as other:
            outcome(other.begin(manager.stop, LIMIT))
    else:
        manager.stop(LIMIT)
    assert batches.lines == ["closing", 1]


def test_a_job_of_a_resource_that_the_loops_own_thread_waits_for() -> None:
    """A thread that waits for such a job in its own loop is not held up by a stop."""
    with Worker(resident=True) as worker:

        def work() -> AsyncioLoopManager:
            manager, batches = AsyncioLoopManager(), Batches()
            manager.start()
            manager.run(batches.resource()())
            stopping = other.begin(manager.stop, LIMIT)
            with pytest.raises(ManagerStateError, match="was stopped"):
                batches.future.result(LIMIT)
            outcome(stopping)
            return manager

        with Worker() as other:
            assert worker.call(work).state == "stopped"


def test_a_job_of_a_resource_on_a_loop_of_others() -> None:
    """A guest's stop lets such a job run until the resource is closed, and ends what it leaves."""
    batches, endless = Batches(), Endless()
    left: list[SyncFuture[None]] = []

    @loop_resource
    async def careless() -> AsyncIterator[None]:
        left.append(current_manager().submit_task(endless.wait()))
        while not endless.began.is_set():
            await asyncio.sleep(0)
        yield

    async def main() -> None:
        manager = AsyncioLoopManager()
        await manager.start_on_running_loop()
        await batches.resource()()
        await careless()
        await asyncio.to_thread(manager.stop, LIMIT)
        with pytest.raises(ManagerStateError, match="was stopped"):
            left[0].result(0)

    asyncio.run(main())
    assert endless.cleaned.is_set()
    assert batches.lines == ["closing", 1]


@on_worker
def test_what_a_resource_leaves(make_manager: MakeManager) -> None:
    """A task that outlives the instance which started it is cancelled with the rest."""
    manager = make_manager()
    endless = Endless()

    @loop_resource
    async def careless() -> AsyncIterator[asyncio.Task[None]]:
        yield asyncio.create_task(endless.wait())

    task = manager.run(careless())
    reached(endless.began)
    manager.stop()
    assert endless.cleaned.is_set()
    assert task.cancelled()


@on_worker
def test_one_that_fails(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its name and traceback, and the next is closed."""
    manager = make_manager()

    @loop_resource
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("went away")

    manager.run(diary.resource("first")())
    manager.run(failing())
    manager.run(diary.resource("last")())
    manager.stop()
    assert diary.lines[2:] == ["close last", "close first"]
    assert "failing failed to close" in "".join(our_log(caplog))
    assert "went away" in caplog.text


@on_worker
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
def test_one_that_fails_otherwise(
    make_manager: MakeManager,
    diary: Diary,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """Errors that asyncio treats apart do not stop the next either."""
    manager = make_manager()

    @loop_resource
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise error

    manager.run(diary.resource("first")())
    manager.run(failing())
    manager.stop()
    assert diary.lines == ["open first", "close first"]
    assert "failing failed to close" in "".join(our_log(caplog))


@on_worker
def test_used_while_it_is_closed(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """A resource may use another in its closing, open or not; itself it may not."""
    manager = make_manager()
    earlier, new = diary.resource("earlier"), diary.resource("new")

    @loop_resource
    async def closing() -> AsyncIterator[int]:
        yield 1
        await earlier()
        await new()
        diary.lines.append("close closing")
        await closing()

    manager.run(earlier())
    manager.run(closing())
    manager.stop()
    expected = ["open earlier", "open new", "close closing", "close new", "close earlier"]
    assert diary.lines == expected
    assert "closing -> " in caplog.text
    assert len(our_log(caplog)) == 1


@on_worker
def test_no_end_of_openings(
    make_manager: MakeManager, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    """Two that use one another when they are closed end: what is closed is not opened again."""
    manager = make_manager()

    @loop_resource
    async def ping() -> AsyncIterator[None]:
        diary.lines.append("ping")
        yield
        await pong()

    @loop_resource
    async def pong() -> AsyncIterator[None]:
        diary.lines.append("pong")
        yield
        await ping()

    manager.run(ping())
    manager.stop()
    assert diary.lines == ["ping", "pong"]
    [line] = our_log(caplog)
    assert "pong failed to close" in line


@on_worker
def test_after_all_are_closed(make_manager: MakeManager, diary: Diary) -> None:
    """An async generator that ends with the loop opens nothing any more."""
    manager = make_manager()
    client = diary.resource("client")
    errors: list[RuntimeError] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await client()
            except RuntimeError as error:
                errors.append(error)

    generator = numbers()

    async def first() -> int:
        return await anext(generator)

    manager.run(first())
    manager.stop()
    assert "being closed" in str(errors[0])
    assert diary.lines == []


@on_worker
def test_started_again(loop_factory: LoopFactory | None, diary: Diary) -> None:
    """A manager that is started again has a new loop, and opens a new instance."""
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    client = diary.resource("client")
    instances = set()
    for _ in range(3):
        manager.start()
        instances.add(manager.run(client()))
        manager.stop()
    assert len(instances) == 3
    assert diary.lines == ["open client", "close client"] * 3


def test_at_the_threads_end(diary: Diary) -> None:
    """A thread that ends closes what its loop has open."""
    client = diary.resource("client")
    with Worker() as worker:
        worker.call(client.get)
        manager = worker.call(get_or_create_loop_manager)
    manager.stop()  # waits for the stop that is under way
    assert diary.lines == ["open client", "close client"]


@on_worker
def test_somebody_cancels_its_task(make_manager: MakeManager, diary: Diary) -> None:
    """The instance is closed, in its task; the next use opens another; others stay open."""
    manager = make_manager()
    earlier, client, later = (diary.resource(name) for name in ("earlier", "client", "later"))

    async def cancel() -> None:
        await earlier()
        instance = await client()
        await later()
        assert instance.task is not None
        instance.task.cancel()
        await asyncio.wait([instance.task])
        assert instance.closed_by is instance.task
        assert await client() is not instance

    manager.run(cancel())
    assert diary.lines[3:] == ["close client", "open client"]
    manager.stop()
    assert diary.lines[5:] == ["close client", "close later", "close earlier"]


@on_worker
def test_a_stop_as_one_closes(make_manager: MakeManager, diary: Diary) -> None:
    """One whose task somebody has canceled comes to the end of its closing in a stop."""
    manager = make_manager()
    go = asyncio.Event()

    @loop_resource
    async def slow() -> AsyncIterator[asyncio.Task[Any] | None]:
        yield asyncio.current_task()
        await go.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        diary.lines.append("close slow")

    @loop_resource
    async def last() -> AsyncIterator[None]:
        yield
        go.set()

    async def use() -> None:
        task = await slow()
        await last()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    manager.run(use())
    manager.stop()
    assert diary.lines == ["close slow"]


@on_worker
def test_somebody_cancels_its_opening(make_manager: MakeManager) -> None:
    """Who waits did not ask for that: it is opened anew for them."""
    manager = make_manager()
    tasks: list[asyncio.Task[None] | None] = []

    @loop_resource
    async def client() -> AsyncIterator[int]:
        tasks.append(asyncio.current_task())
        if len(tasks) == 1:
            await asyncio.get_running_loop().create_future()
        yield len(tasks)

    async def cancel() -> list[int]:
        waiting = asyncio.gather(client(), client())
        while not tasks:
            await asyncio.sleep(0)
        assert tasks[0] is not None
        tasks[0].cancel()
        return list(await waiting)

    assert manager.run(cancel()) == [2, 2]


@on_worker
def test_an_opening_that_swallows_its_cancellation(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """An opening that a stop cancels, and that succeeds all the same, is closed by that stop."""
    manager = make_manager()
    endless, lines = Endless(), []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        with contextlib.suppress(asyncio.CancelledError):
            await endless.wait()
        yield
        lines.append("closed")

    manager.submit_task(client())
    reached(endless.began)
    manager.stop(LIMIT)
    assert lines == ["closed"]
    assert our_log(caplog) == []


@on_worker
def test_a_child_that_fails(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """An instance whose own task group fails is closed and logged; the next use opens another."""
    manager = make_manager()
    opened: list[asyncio.Future[None]] = []

    @loop_resource
    async def group() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as children:
            opened.append(asyncio.get_running_loop().create_future())
            children.create_task(fail(opened[-1]))
            yield len(opened)
            opened[-1].cancel()

    async def fail(told: asyncio.Future[None]) -> None:
        await told
        raise ConnectionError("went away")

    async def use() -> int:
        assert await group() == 1
        opened[0].set_result(None)
        while not caplog.records:
            await asyncio.sleep(0)
        return await group()

    assert manager.run(use(), timeout=20) == 2
    assert "went away" in caplog.text
    assert "group failed to close" in our_log(caplog)[0]
