"""What the log says of a request's async code: which coroutine, and which request."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Stubborn,
    on_plain_worker,
    on_worker,
    our_log,
    reached,
    throw,
    wait_until,
)
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import make_environ, serve
from wsgi_async import AsyncioLoopManager, loop_from, run_in_calling_thread, scope_from
from wsgi_async.wsgi import servers
from wsgi_async.wsgi.requests import RequestLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from wsgiref.types import WSGIEnvironment

QUICK = 0.05


def request(view: Callable[[WSGIEnvironment], object], **options: Any) -> None:
    """Serve a request with a query, whose manager has little patience."""

    def app(environ: WSGIEnvironment) -> list[bytes]:
        view(environ)
        return [b"ok"]

    environ = make_environ(
        REQUEST_METHOD="POST", SCRIPT_NAME="/shop", PATH_INFO="/orders/7", QUERY_STRING="card=4111"
    )
    assert serve(app_of(app, grace=QUICK, **options), environ) == b"ok"


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    """The lines with these words in them, all of them under the library's logger."""
    found = [one for one in caplog.records if part in one.getMessage()]
    assert {record.name for record in found} == {"wsgi_async"}
    return [record.getMessage() for record in found]


WHERE = "(POST /shop/orders/7)"


@on_worker
def test_a_background_task_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever task failed, the line names it and the request that has begun it."""

    def view(environ: WSGIEnvironment) -> None:
        future = loop_from(environ).submit_task(throw(LookupError("theirs")))
        wait_until(future.done, "it fails")

    request(view)
    gc.collect()
    (line,) = lines(caplog, "never retrieved")
    assert f"task throw {WHERE} was" in line


@on_worker
def test_a_task_of_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """What a request's task submits in turn is the request's too."""

    async def submit(environ: WSGIEnvironment) -> Any:
        return loop_from(environ).submit_task(throw(LookupError("theirs")))

    def view(environ: WSGIEnvironment) -> None:
        manager = loop_from(environ)
        wait_until(manager.submit_task(submit(environ)).result().done, "it fails")

    request(view)
    gc.collect()
    assert WHERE in lines(caplog, "never retrieved")[0]


@on_worker
def test_cleanup_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    """After a timeout, after the request, in a stream and in a context manager."""
    stubborn, scoped, streaming, inside = (Stubborn() for _ in range(4))

    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await streaming.wait()

    class Session:
        async def __aenter__(self) -> None:
            """Nothing."""

        async def __aexit__(self, *_: object) -> None:
            await inside.wait()

    def view(environ: WSGIEnvironment) -> None:
        manager = loop_from(environ)
        with pytest.raises(TimeoutError):
            manager.run(stubborn.wait(), timeout=BEGIN)
        items = manager.iterate(stream())
        next(items)
        items.close()
        with (
            pytest.raises(SystemExit),
            scope_from(environ).timeout(QUICK),
            manager.wrap_async_context_manager(Session()),
        ):
            raise SystemExit
        scope_from(environ).submit_task(scoped.wait())
        reached(scoped.began)

    request(view)
    for each in (stubborn, scoped, streaming, inside):
        each.release()
    (line,) = lines(caplog, "continues without its caller")[:1]
    assert f"Stubborn.wait {WHERE} did not end" in line
    (line,) = lines(caplog, "after its request, and continues")
    assert f"Stubborn.wait {WHERE} did not end" in line
    (line,) = lines(caplog, "closing")
    assert f".stream {WHERE} took longer" in line
    (line,) = lines(caplog, "was not exited")
    assert f".Session {WHERE} was not exited" in line


@on_worker
def test_what_holds_up_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    """A stop names the request of each task that resists, also of one made past the library."""
    stubborn, other = Stubborn(), Stubborn()
    tasks: list[asyncio.Task[Any]] = []

    async def start() -> None:
        tasks.append(asyncio.create_task(other.wait()))

    def view(environ: WSGIEnvironment) -> None:
        manager = loop_from(environ)
        manager.submit_task(stubborn.wait())
        manager.run(start())
        reached(stubborn.began)
        reached(other.began)
        manager.stop(0.2)

    request(view)
    found = lines(caplog, "did not end in time")
    assert len(found) == 2
    assert all(WHERE in line for line in found)


@on_worker
def test_a_task_that_blocks_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    """A stop that gives up says in which request the blocking began."""
    go_on, began = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        reached(go_on)

    managers: list[Any] = []

    def view(environ: WSGIEnvironment) -> None:
        manager = loop_from(environ)
        managers.append(manager)
        if manager._life.resident:
            pytest.skip("a resident loop is closed by the thread that would block")
        manager.submit_task(block())
        reached(began)
        manager.stop(0.1)

    request(view)
    go_on.set()
    wait_until(lambda: managers[0].state == "stopped", "it is stopped")
    (line,) = lines(caplog, "holds its loop")
    assert f"block {WHERE}" in line


@on_worker
def test_a_stream_that_fails_between_two_items(caplog: pytest.LogCaptureFixture) -> None:
    """What fails while no thread waits is logged with its request."""

    async def fail(when: asyncio.Event) -> None:
        await when.wait()
        raise LookupError("theirs")

    async def stream(when: asyncio.Event) -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(when))
            yield 1

    def view(environ: WSGIEnvironment) -> None:
        manager, when = loop_from(environ), asyncio.Event()
        with manager.iterate(stream(when)) as items:
            next(items)
            manager.get_event_loop().call_soon_threadsafe(when.set)
            if manager._life.resident:
                manager.run(asyncio.sleep(QUICK))  # its loop stands still otherwise
            wait_until(lambda: bool(our_log(caplog)), "it fails")
            with pytest.raises(ExceptionGroup):
                next(items)

    request(view)
    (line,) = lines(caplog, "failed")
    assert f".stream {WHERE} failed" in line


@on_worker
def test_tasks_that_run_leaves_behind(caplog: pytest.LogCaptureFixture) -> None:
    """In debug mode the request is named whose `run()` left a task behind."""

    async def leave() -> None:
        tasks.append(asyncio.create_task(asyncio.sleep(5), name="left"))

    tasks: list[asyncio.Task[Any]] = []
    request(lambda environ: loop_from(environ).run(leave()), debug=True)
    (line,) = lines(caplog, "behind")
    assert f"left the task left {WHERE} behind" in line


@on_worker
def test_tasks_that_a_function_of_the_waiting_thread_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In debug mode they are told of as well: the call has begun them, by way of its thread."""

    async def left() -> None:
        began.set()
        await asyncio.Event().wait()

    began = threading.Event()
    with AsyncioLoopManager(debug=True) as manager:
        loop = manager.get_event_loop()

        async def ask() -> None:
            await run_in_calling_thread(asyncio.run_coroutine_threadsafe, left(), loop)
            while not began.is_set():
                await asyncio.sleep(0)

        manager.run(ask())
    (line,) = [line for line in our_log(caplog) if "behind" in line]
    assert ".left at" in line


@on_plain_worker
def test_tasks_of_other_calls_are_not_called_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """In debug mode a call that ends beside others says nothing of what they still wait for."""
    go_on = threading.Event()

    async def gathers() -> None:
        await asyncio.gather(asyncio.to_thread(go_on.wait), asyncio.sleep(0))

    with AsyncioLoopManager(debug=True) as manager:
        submitted = manager.submit_task(gathers())
        waiting = threading.Thread(target=manager.run, args=(gathers(),))
        waiting.start()

        async def both_wait() -> None:
            while len(asyncio.all_tasks()) < 5:
                await asyncio.sleep(0)

        manager.run(both_wait())
        go_on.set()
        waiting.join()
        assert submitted.result(LIMIT) is None
    assert our_log(caplog) == []


@on_worker
def test_outside_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """A line about other work names no request."""
    with AsyncioLoopManager("alone") as manager:
        wait_until(manager.submit_task(throw(LookupError())).done, "it fails")
        gc.collect()
    (line,) = lines(caplog, "never retrieved")
    assert "task throw was" in line


# -- what a request is called ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, "GET /"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/gr\xc3\xbcn"}, "GET /gr%C3%BCn"),
        (
            {"REQUEST_METHOD": "GET", "PATH_INFO": "/a\nERROR b\x1b[0m"},
            "GET /a%0AERROR%20b%1B%5B0m",
        ),
        ({"REQUEST_METHOD": "G\nET", "PATH_INFO": "/\u2028"}, "G%0AET /%3F"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/" + 300 * "x"}, "GET /" + 199 * "x" + "..."),
        ({}, " "),
    ],
)
def test_a_client_cannot_write_into_the_log(environ: dict[str, str], name: str) -> None:
    """The path is quoted as it came over the wire, without its query, and cut where it is long."""
    assert str(RequestLine({**environ, "QUERY_STRING": "secret"})) == name


@on_worker
def test_the_name_keeps_nothing_of_the_request() -> None:
    """A task that lives long keeps the environ of its request from being freed no longer."""

    class Freed:
        """What only the environ holds."""

    endless = Endless()
    kept: list[weakref.ref[Freed]] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop_from(environ).submit_task(endless.wait())
        reached(endless.began)
        return [b"ok"]

    environ = make_environ()
    environ["freed"] = freed = Freed()
    kept.append(weakref.ref(freed))
    del freed
    assert serve(app_of(view), environ) == b"ok"
    del environ
    gc.collect()
    assert kept[0]() is None
    assert not endless.cleaned.is_set()


def test_a_subinterpreter_of_mod_wsgi(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator is told once that it ends without cleanup, and what to set."""
    monkeypatch.setattr(servers, "_warned", [])
    for number in range(2):
        environ = make_environ(**{"mod_wsgi.application_group": "www.example.org|/shop"})
        serve(app_of(lambda _: [b"ok"], id=f"subinterpreter {number}"), environ)
    (line,) = lines(caplog, "subinterpreter")
    assert "'www.example.org|/shop'" in line
    assert "Set WSGIApplicationGroup %{GLOBAL}." in line
