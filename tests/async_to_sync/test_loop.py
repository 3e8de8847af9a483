"""Which loop a call runs on."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import (
    called_on,
    ident,
    make,
    on_thread,
    own_loop,
    running_loop,
    stepped_by,
)
from tests.core.support import LIMIT, Worker, give, in_process, in_thread, wait_until
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    async_to_sync,
    get_or_create_loop_manager,
    loop_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.async_to_sync.conftest import Start


def test_made_on_first_use(worker: Worker) -> None:
    """The first call makes the thread's loop, and the next ones find it, open and the same."""
    get_loop = async_to_sync(own_loop)
    loop = worker.call(get_loop)
    assert worker.call(get_loop) is loop
    assert not loop.is_closed()
    manager = worker.call(get_or_create_loop_manager)
    assert manager.get_event_loop() is loop


def test_each_thread_has_its_own(worker: Worker) -> None:
    """Two threads never share a loop."""
    with Worker() as second:
        assert worker.call(async_to_sync(own_loop)) is not second.call(async_to_sync(own_loop))


def test_ends_with_the_thread(mode: str) -> None:
    """The loop is closed when its thread has ended."""
    loop = on_thread(mode, async_to_sync(own_loop))
    wait_until(loop.is_closed, "the loop is not closed")


def test_on_one_thread(worker: Worker, mode: str) -> None:
    """Every coroutine runs on the loop's one thread: the calling one where the loop lives there."""
    first, second = worker.call(async_to_sync(stepped_by)), worker.call(async_to_sync(stepped_by))
    assert first == second
    assert (first == worker.thread.ident) == (mode == "resident")


def test_background_task_survives(worker: Worker) -> None:
    """What a call leaves on the loop goes on after it, and the next call can await it."""

    async def begin() -> asyncio.Task[int]:
        return asyncio.create_task(give(5))

    async def end(task: asyncio.Task[int]) -> int:
        return await task

    task = worker.call(async_to_sync(begin))
    assert worker.call(async_to_sync(end), task) == 5


def test_inherited(mode: str) -> None:
    """A thread uses the loop of the thread that has started it, unless that lives on it."""

    def parent() -> tuple[object, object]:
        loop = async_to_sync(own_loop)()
        return loop, in_thread(async_to_sync(own_loop))

    mine, childs = on_thread(mode, parent)
    assert (mine is childs) == (mode == "keeper")


def test_the_threads_own_manager(worker: Worker, start: Start) -> None:
    """A manager that the thread has already is used; it is not another loop."""
    manager = start()
    assert worker.call(async_to_sync(own_loop)) is manager.get_event_loop()


def test_made_and_not_started(worker: Worker) -> None:
    """A manager that the thread has made and not started is started, rather than displaced."""
    manager = worker.call(get_or_create_loop_manager)
    assert worker.call(async_to_sync(own_loop)) is manager.get_event_loop()


def test_after_stop(worker: Worker, start: Start) -> None:
    """When the manager has been stopped, the next call has a new loop."""
    manager = start()
    loop = worker.call(async_to_sync(own_loop))
    manager.stop()
    second = worker.call(async_to_sync(own_loop))
    assert second is not loop
    assert worker.call(async_to_sync(own_loop)) is second


@pytest.mark.parametrize("options", [{}, {"id": "mine"}, {"task_type": "web"}, {"reuse": True}])
def test_the_requests(options: dict[str, Any]) -> None:
    """In a request it is the loop in the environ, whatever the middleware's arguments."""
    from webtest import TestApp

    seen: list[tuple[object, object]] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        seen.append((loop_from(environ).get_event_loop(), async_to_sync(own_loop)()))
        yield b"streamed"
        seen.append((loop_from(environ).get_event_loop(), async_to_sync(own_loop)()))

    in_thread(TestApp(AsyncLoopMiddleware(app, **options)).get, "/")
    assert len(seen) == 2
    assert {mine for pair in seen for mine in pair} == {seen[0][0]}
    if options.get("reuse"):
        # It waits for the next thread.
        for manager in AsyncioLoopManager.all_instances():
            if manager.running and manager.get_event_loop() is seen[0][0]:
                manager.stop()


def test_the_requests_shared_one() -> None:
    """With `force_create=False` it is the shared loop, which each thread else would not use."""
    from webtest import TestApp

    loops: list[object] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        loops.append(async_to_sync(own_loop)())
        loops.append(async_to_sync(called_on)() == ident())
        return [b"done"]

    def serve() -> object:
        shared = get_or_create_loop_manager("shared")
        shared.start()
        served = TestApp(AsyncLoopMiddleware(app, id="shared", force_create=False))
        in_thread(served.get, "/")
        in_thread(served.get, "/")
        return shared.get_event_loop()

    shared = in_thread(serve)
    assert loops == [shared, True, shared, True]


def child_main_thread(loop: str) -> None:
    """In a main thread."""
    if loop == "uvloop":
        make(loop)
    first = async_to_sync(own_loop)()
    assert first is async_to_sync(own_loop)()
    assert type(first).__module__.startswith(loop)
    assert async_to_sync(stepped_by)() != ident()
    assert async_to_sync(called_on)() == ident()


def test_main_thread(loop: str) -> None:
    """In the main thread, beside which the loop lives, sync functions run in the main thread."""
    in_process(child_main_thread, "asyncio" if loop == "asyncio" else "uvloop")


def child_fork(loop: str) -> None:
    """Forks between two calls, and in a sync function that a coroutine has called."""
    make(loop)
    parents = async_to_sync(own_loop)()

    def check() -> None:
        mine = async_to_sync(own_loop)()
        assert mine is not parents
        assert mine is async_to_sync(own_loop)()
        assert async_to_sync(called_on)() == ident()

    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                check()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    import warnings

    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    assert fork() == 0

    async def inside() -> int:
        return await sync_to_async(fork)()

    assert async_to_sync(inside)() == 0
    assert async_to_sync(own_loop)() is parents


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork(loop: str) -> None:
    """A forked child has a new loop, also where a coroutine's sync function has forked."""
    in_process(child_fork, loop)


def test_force_new_loop(worker: Worker, start: Start, mode: str) -> None:
    """With `force_new_loop` each call has a loop that is closed after it."""
    own = start().get_event_loop()
    fresh = async_to_sync(own_loop, force_new_loop=True)

    async def inside() -> list[Any]:
        return [await sync_to_async(fresh)(), await called_on()]

    first, second = worker.call(fresh), worker.call(fresh)
    third, thread = worker.call(async_to_sync(inside))
    assert len({own, first, second, third}) == 4
    assert first.is_closed()
    assert second.is_closed()
    assert third.is_closed()
    assert thread == worker.thread.ident
    on_new = async_to_sync(called_on, force_new_loop=True)
    assert worker.call(on_new) == worker.thread.ident


def test_in_a_running_loop(worker: Worker, start: Start) -> None:
    """In a coroutine it says at once that the function is to be awaited; nothing is begun."""
    start()
    begun: list[int] = []

    async def note() -> None:
        begun.append(1)

    async def wrong() -> None:
        async_to_sync(note)()

    with pytest.raises(RuntimeError, match=r"[Aa]wait"):
        worker.call(async_to_sync(wrong))
    with pytest.raises(RuntimeError, match=r"[Aa]wait"):
        asyncio.run(wrong())
    assert begun == []


def test_back_to_our_loop(worker: Worker, start: Start, mode: str) -> None:
    """Sync code that a coroutine calls goes back to that coroutine's loop, from any thread."""
    loop = start().get_event_loop()

    async def outside() -> Any:
        return await sync_to_async(async_to_sync(own_loop), thread_sensitive=False)()

    async def inside() -> Any:
        return await sync_to_async(async_to_sync(own_loop))()

    assert worker.call(async_to_sync(inside)) is loop
    assert worker.call(async_to_sync(outside)) is loop


def test_back_to_a_foreign_loop() -> None:
    """Sync code that an ASGI server's coroutine calls goes back to the server's loop."""

    def view() -> list[Any]:
        return [
            running_loop(),
            async_to_sync(own_loop)(),
            async_to_sync(stepped_by)(),
            async_to_sync(called_on)() == ident(),
            async_to_sync(own_loop, force_new_loop=True)(),
        ]

    async def server() -> None:
        here, thread = asyncio.get_running_loop(), ident()
        none, loop, stepper, caller, new = await sync_to_async(view)()
        assert (none, loop, stepper, caller) == (None, here, thread, True)
        assert new is not here

    asyncio.run(server())


def test_foreign_loop_is_forgotten() -> None:
    """After the server's loop is closed, a thread that has worked for it has its own loop."""

    async def server() -> Any:
        return asyncio.get_running_loop(), await sync_to_async(async_to_sync(own_loop))()

    with ThreadPoolExecutor(1) as pool:
        # asgiref leaves a note of the loop in the thread that has worked for it.
        server = sync_to_async(async_to_sync(own_loop), thread_sensitive=False, executor=pool)

        async def serve() -> Any:
            return asyncio.get_running_loop(), await server()

        first, seen = asyncio.run(serve())
        assert seen is first
        mine = pool.submit(async_to_sync(own_loop)).result(LIMIT)
        assert mine is not first
        assert pool.submit(async_to_sync(own_loop)).result(LIMIT) is mine
        second, seen = asyncio.run(serve())
        assert seen is second


def test_asyncio_run_in_a_sync_function(worker: Worker, start: Start, mode: str) -> None:
    """A sync function may run a loop of its own, and `sync_to_async` works there."""
    start()

    def function() -> tuple[Any, int]:
        return asyncio.run(own_loop()), asyncio.run(called_on())

    async def call() -> tuple[Any, int]:
        return await sync_to_async(function)()

    loop, thread = worker.call(async_to_sync(call))
    assert loop.is_closed()
    assert thread != worker.thread.ident  # that one runs the loop
