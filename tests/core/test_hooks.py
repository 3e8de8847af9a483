"""on_start and on_stop, and what a manager says of its work."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

import wsgi_async
from tests.core.support import LIMIT, in_thread, our_log
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    WaitTimeoutError,
    get_or_create_loop_manager,
    loop_from,
    loop_resource,
    run_in_calling_thread,
)
from wsgi_async.core.life import hooks
from wsgi_async.core.managers import manager as manager_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async.core.base.settings import Hook

variable = contextvars.ContextVar("variable", default="empty")


async def value(of: object) -> object:
    return of


def test_hooks_are_called_on_the_loop() -> None:
    """A plain and an async hook run on the manager's loop, at its start and at its stop."""
    seen: list[object] = []

    def plain() -> None:
        seen.append(asyncio.get_running_loop())

    async def coroutine() -> None:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop())

    manager = AsyncioLoopManager(on_start=plain, on_stop=coroutine)
    manager.start()
    loop = manager.get_event_loop()
    assert seen == [loop]
    manager.run(value(1))
    manager.stop()
    assert seen == [loop, loop]


def test_hooks_on_a_resident_thread() -> None:
    """A pool's thread runs both hooks itself."""
    idents: list[int] = []

    def note() -> None:
        idents.append(threading.get_ident())

    def work() -> int:
        with AsyncioLoopManager(on_start=note, on_stop=note) as manager:
            assert "resident" in repr(manager)
            manager.run(value(1))
        return threading.get_ident()

    with LoopThreadPoolExecutor(1, own_managers=False) as pool:
        ident = pool.submit(work).result(10)
    assert idents == [ident, ident]


async def cancel_a_task_and_await_it() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


def leave_the_process() -> None:
    raise SystemExit(1)


@pytest.mark.parametrize("hook", [cancel_a_task_and_await_it, leave_the_process])
@pytest.mark.parametrize("resident", [False, True])
def test_a_stop_hook_cannot_prevent_the_stop(
    hook: Hook, caplog: pytest.LogCaptureFixture, *, resident: bool
) -> None:
    """Whatever on_stop raises is logged, waiting threads get their error, the loop is closed."""

    def work() -> None:
        manager = AsyncioLoopManager(on_stop=hook)
        manager.start()
        loop = manager.get_event_loop()
        future = manager.submit_task(asyncio.sleep(60))
        manager.run(value(1))
        manager.stop()
        assert future.exception(10) is not None
        assert loop.is_closed()

    with LoopThreadPoolExecutor(1, own_managers=False) as pool:
        pool.submit(work).result(10) if resident else work()
    assert [one.getMessage().rpartition(": ")[2] for one in caplog.records] == [
        "its on_stop failed"
    ]


@pytest.mark.parametrize("resident", [False, True])
def test_a_start_hook_that_raises(*, resident: bool) -> None:
    """start() raises what on_start raised, the loop is closed, and a later start() works."""
    failing = [True]
    stopped: list[bool] = []
    loops: list[asyncio.AbstractEventLoop] = []

    def fail() -> None:
        loops.append(asyncio.get_running_loop())
        if failing:
            raise LookupError("no network")

    def work() -> None:
        manager = AsyncioLoopManager("it", on_start=fail, on_stop=lambda: stopped.append(True))
        with pytest.raises(LookupError, match="no network"):
            manager.start()
        assert manager.state == "new"
        assert loops[0].is_closed()
        assert stopped == []
        failing.clear()
        manager.start()
        assert manager.run(value(3)) == 3
        manager.stop()
        assert stopped == [True]

    if resident:
        with LoopThreadPoolExecutor(1, own_managers=False) as pool:
            pool.submit(work).result(10)
    else:
        work()


def test_a_start_hook_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """start() gives up an on_start that hangs, and raises an error that names it."""
    monkeypatch.setattr(hooks, "_START_TIMEOUT", 0.05)
    manager = AsyncioLoopManager(on_start=asyncio.Event().wait)
    with pytest.raises(WaitTimeoutError, match=r"Event\.wait did not end within 0\.05 s"):
        manager.start()
    assert manager.state == "new"


async def to_thread(fn: Callable[[], object]) -> object:
    return await asyncio.to_thread(fn)


async def by_a_resource(fn: Callable[[], object]) -> object:
    @loop_resource
    async def client() -> AsyncIterator[object]:
        yield await asyncio.to_thread(fn)

    return await client()


async def in_calling_thread(fn: Callable[[], object]) -> object:
    return await run_in_calling_thread(fn)


@pytest.mark.parametrize("call", [to_thread, by_a_resource, in_calling_thread])
def test_sync_code_of_a_start_hook_that_needs_the_manager(
    call: Callable[[Callable[[], object]], Coroutine[Any, Any, object]],
) -> None:
    """Sync code of on_start that calls run() is told at once that the manager is being started."""
    seen: list[object] = []

    async def start() -> None:
        seen.append(await call(use))

    def use() -> str:
        with pytest.raises(RuntimeError, match="is being started") as caught:
            wsgi_async.run(value(1))
        return str(caught.value)

    def work() -> None:
        manager = get_or_create_loop_manager(on_start=start)
        manager.start()
        assert wsgi_async.run(value(1)) == 1
        manager.stop()

    begun = time.monotonic()
    in_thread(work)
    assert time.monotonic() - begun < 5  # the limit of a start is 10 seconds
    assert len(seen) == 1


def test_a_start_hook_sees_no_request() -> None:
    """What on_start begins outlives the request: its context is an empty one."""
    seen: list[str] = []
    variable.set("a request's")
    with AsyncioLoopManager(on_start=lambda: seen.append(variable.get())):
        pass
    assert seen == ["empty"]


@pytest.mark.parametrize("resident", [False, True])
def test_a_stop_hook_sees_no_request(*, resident: bool) -> None:
    """on_stop runs in an empty context too, on whichever thread the loop lives."""
    seen: list[str] = []

    def work() -> None:
        manager = AsyncioLoopManager(on_stop=lambda: seen.append(variable.get()))
        manager.start()
        variable.set("a request's")
        manager.stop()

    if resident:
        with LoopThreadPoolExecutor(1, own_managers=False) as pool:
            pool.submit(work).result(LIMIT)
    else:
        in_thread(work)
    assert seen == ["empty"]


def test_a_stop_hook_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What on_stop raises is logged, and the stop goes on."""

    async def fail() -> None:
        raise LookupError("no network")

    manager = AsyncioLoopManager(on_stop=fail)
    manager.start()
    loop = manager.get_event_loop()
    manager.stop()
    assert loop.is_closed()
    assert "its on_stop failed" in caplog.text
    assert "no network" in caplog.text


def test_a_stop_hook_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """An on_stop that hangs is named in the log and holds the stop for a part of its time."""

    async def hang() -> None:
        await asyncio.Event().wait()

    manager = AsyncioLoopManager(on_stop=hang)
    manager.start()
    manager.stop(timeout=0.4)
    assert manager.state == "stopped"
    assert "its on_stop did not end in time" in caplog.text


def test_a_stop_hook_uses_a_resource() -> None:
    """on_stop can still use what is open on the loop."""
    events: list[str] = []

    @loop_resource
    async def client() -> AsyncIterator[list[str]]:
        yield events
        events.append("closed")

    async def say_goodbye() -> None:
        (await client()).append("goodbye")

    async def use() -> None:
        (await client()).append("used")

    with AsyncioLoopManager(on_stop=say_goodbye) as manager:
        manager.run(use())
    assert events == ["used", "goodbye", "closed"]


def test_hooks_of_the_middleware() -> None:
    """The middleware gives its managers the hooks that it was given."""
    seen: list[str] = []
    managers: list[AsyncioLoopManager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        managers.append(loop_from(environ))
        start_response("200 OK", [])
        return []

    def request() -> None:
        environ: WSGIEnvironment = {}
        setup_testing_defaults(environ)
        wrapped = AsyncLoopMiddleware(
            app,
            on_start=lambda: seen.append("start"),
            on_stop=lambda: seen.append("stop"),
        )
        list(wrapped(environ, lambda *_: bytes))
        managers[0].stop()

    thread = threading.Thread(target=request)
    thread.start()
    thread.join(10)
    assert seen == ["start", "stop"]


@pytest.mark.parametrize("name", ["on_start", "on_stop"])
def test_a_hook_that_is_no_function(name: str) -> None:
    """What cannot be called is refused at once, by the option's name."""
    with pytest.raises(TypeError, match=f"{name} is 'setup'. Give a function, plain or async"):
        AsyncioLoopManager(**{name: "setup"})  # type: ignore[arg-type]


def test_the_repr_tells_what_is_in_flight() -> None:
    """repr() says what runs the loop, how much is in flight, and for how long."""
    with AsyncioLoopManager("db") as manager:
        assert "id='db'" in repr(manager)
        assert "keeper in_flight=0>" in repr(manager)
        future = manager.submit_task(asyncio.sleep(60))
        assert "keeper in_flight=1 oldest=0." in repr(manager)
        future.cancel()
    assert repr(manager).endswith("stopped in_flight=0>")


def test_the_log_names_what_a_stop_cuts_off(caplog: pytest.LogCaptureFixture) -> None:
    """A stop logs the unfinished tasks, counted by the names of their coroutines."""
    caplog.set_level(logging.INFO, "wsgi_async")

    async def poll() -> None:
        await asyncio.Event().wait()

    async def start_child() -> None:
        asyncio.current_task().child = asyncio.ensure_future(poll())  # type: ignore[union-attr]
        await asyncio.Event().wait()

    manager = AsyncioLoopManager()
    manager.start()
    for coro in (poll(), poll(), start_child()):
        manager.submit_task(coro)
    manager.run(asyncio.sleep(0))
    manager.stop()
    line = next(record.getMessage() for record in caplog.records if "cut off" in record.msg)
    assert "2 x test_the_log_names_what_a_stop_cuts_off.<locals>.poll" in line or "3 x" in line
    assert "start_child" in line


def test_what_looks_at_each_start_cannot_stop_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the inspector cannot be opened, for example, that is logged, and the manager works."""

    def refuse() -> None:
        raise PermissionError("no socket here")

    called: list[str] = []
    monkeypatch.setattr(manager_module, "_start_hooks", [refuse, lambda: called.append("next")])
    with AsyncioLoopManager() as manager:
        assert manager.run(asyncio.sleep(0, "works")) == "works"
    assert called == ["next"]
    (line,) = our_log(caplog)
    assert "a start hook failed" in line
