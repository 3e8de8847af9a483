"""`adopt=True`: the current event loop of a request's sync code is the manager's."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Endless, give, on_worker, throw
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import ignore_start, make_environ, running_loop, serve
from wsgi_async import CallerNotFound, loop_from, run_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from wsgiref.types import WSGIEnvironment


def run_sync(coro: Coroutine[Any, Any, Any]) -> Any:
    """What SDKs do in their sync functions."""
    try:
        loop = asyncio.get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    if loop.is_running() or loop.is_closed():
        coro.close()
        raise RuntimeError("call the async function")
    return loop.run_until_complete(coro)


def without_loop() -> bool:
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        return True
    return False


@pytest.fixture(autouse=True)
def _no_new_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK that makes a loop of its own fails."""
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: pytest.fail("made a loop"))


@pytest.mark.parametrize("per", ["thread", "process"])
@on_worker
def test_sync_functions_of_sdks_run_on_the_managers_loop(per: str) -> None:
    """In the application, its stream and its cleanup; and nowhere after that."""
    loops: set[object] = set()

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        manager = loop_from(environ)
        loops.update((manager.get_event_loop(), run_sync(running_loop())))

        def body() -> Iterator[bytes]:
            try:
                loops.add(run_sync(running_loop()))
                yield b"ok"
            finally:
                loops.add(run_sync(running_loop()))

        return body()

    for _ in range(2):
        assert serve(app_of(view, adopt=True, id="adopted", per=per, task_type="web")) == b"ok"
        assert without_loop()
    assert len(loops) == 1


@on_worker
def test_without_it_a_request_has_no_current_loop() -> None:
    """By default nothing is put in anybody's way."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        assert without_loop()
        return []

    serve(app_of(view))


@on_worker
def test_errors_and_deadlines_are_those_of_run() -> None:
    """What goes wrong in the SDK's coroutine comes out of its sync function."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        with pytest.raises(LookupError, match="theirs"):
            run_sync(throw(LookupError("theirs")))
        slow = Endless()
        with pytest.raises(TimeoutError, match="the request's deadline"):
            run_sync(slow.wait())
        assert slow.cleaned.is_set()
        return []

    serve(app_of(view, adopt=True, timeout=0.1))


@on_worker
def test_tasks_and_futures_can_be_waited_for() -> None:
    """`create_task()` begins at once, and `run_until_complete()` takes whatever is awaitable."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop, began = asyncio.get_event_loop(), Endless()
        endless = loop.create_task(began.wait())
        task = loop.create_task(give("task"), name="mine")
        assert loop.run_until_complete(task) == "task"
        assert task.get_name() == "mine"
        assert loop.run_until_complete(loop.run_in_executor(None, int, "3")) == 3
        assert began.began.is_set()
        loop.call_soon_threadsafe(endless.cancel)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(endless)
        return []

    serve(app_of(view, adopt=True))


@on_worker
def test_a_loop_that_an_sdk_keeps_works_in_later_requests() -> None:
    """What asyncio's functions make of coroutines in sync code can be waited for there too."""
    kept: list[asyncio.AbstractEventLoop] = []
    found: list[list[int]] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        kept.append(asyncio.get_event_loop())
        both: Any = asyncio.gather(give(1), give(2))
        found.append(kept[0].run_until_complete(both))
        return []

    app = app_of(view, adopt=True)
    for _ in range(2):
        serve(app)
    assert found == [[1, 2]] * 2


@on_worker
def test_tasks_of_a_kept_loop_have_the_present_requests_thread() -> None:
    """A function that such a task asks for runs on the thread of the request that made the task."""
    kept: list[asyncio.AbstractEventLoop] = []
    found: list[bool] = []

    async def ask() -> int:
        return await run_in_calling_thread(threading.get_ident)

    def view(environ: WSGIEnvironment) -> list[bytes]:
        kept.append(asyncio.get_event_loop())
        task = kept[0].create_task(ask())
        found.append(kept[0].run_until_complete(task) == threading.get_ident())
        return []

    app = app_of(view, adopt=True)
    for _ in range(2):
        serve(app)
    assert found == [True] * 2


@on_worker
def test_timers_that_sync_code_sets_ring_on_the_loop() -> None:
    """An SDK may set a timer from the request's thread, though the loop sleeps on another one."""
    rang = threading.Event()
    threads: list[threading.Thread] = []

    def ring() -> None:
        threads.append(threading.current_thread())
        rang.set()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop = asyncio.get_event_loop()
        loop.call_later(3600, ring).cancel()
        handle = loop.call_at(loop.time() + 0.01, ring)
        assert run_sync(asyncio.to_thread(rang.wait, LIMIT))
        assert not handle.cancelled()
        assert threads == [loop_from(environ).run(give_thread())]
        return []

    serve(app_of(view, adopt=True))


async def give_thread() -> threading.Thread:
    return threading.current_thread()


@on_worker
def test_the_loop_stays_whatever_an_sdk_does_to_it() -> None:
    """The next request finds it open and at rest."""
    loops: list[object] = []

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop = asyncio.get_event_loop()
        assert not loop.is_running()
        loop.close()
        assert not loop.is_closed()
        loops.append(loop.run_until_complete(running_loop()))
        return []

    app = app_of(view, adopt=True)
    serve(app)
    serve(app)
    assert loops[0] is loops[1]


@on_worker
def test_a_request_within_a_request_gives_the_loop_back() -> None:
    """An application that asks another in process finds its own loop again after that."""

    def inner(environ: WSGIEnvironment) -> list[bytes]:
        assert run_sync(running_loop()) is loop_from(environ).get_event_loop()
        return [b"ok"]

    def outer(environ: WSGIEnvironment) -> list[bytes]:
        own = loop_from(environ).get_event_loop()
        assert serve(app_of(inner, adopt=True, id="inner")) == b"ok"
        assert run_sync(running_loop()) is own
        return []

    serve(app_of(outer, adopt=True, id="outer"))
    assert without_loop()


@on_worker
def test_streams_that_take_turns_have_their_own() -> None:
    """A server that reads bodies in turns does not mix the requests' loops."""

    def view(environ: WSGIEnvironment) -> Iterator[bytes]:
        own = loop_from(environ).get_event_loop()
        while True:
            assert run_sync(running_loop()) is own
            yield b"ok"

    bodies: list[Any] = [
        app_of(view, adopt=True, id=name)(make_environ(), ignore_start) for name in ("one", "two")
    ]
    for body in bodies * 2:
        assert next(body) == b"ok"
        assert without_loop()
    for body in bodies:
        body.close()


@on_worker
def test_in_a_coroutine_it_is_the_running_loop() -> None:
    """Where a loop runs there is nothing to adopt, and waiting for it is refused."""

    async def look() -> None:
        assert asyncio.get_event_loop() is asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="call the async function"):
            run_sync(give(1))
        coro = give(1)
        with pytest.raises(RuntimeError, match="await"):
            facades[0].run_until_complete(coro)

    def view(environ: WSGIEnvironment) -> list[bytes]:
        facades.append(asyncio.get_event_loop())
        loop_from(environ).run(look())
        return []

    facades: list[asyncio.AbstractEventLoop] = []
    serve(app_of(view, adopt=True))


@on_worker
def test_a_task_in_a_context_of_its_own() -> None:
    """`create_task(coro, context=...)` is as on any loop."""
    variable = ContextVar("variable", default="the request's")

    async def look() -> str:
        return variable.get()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop, context = asyncio.get_event_loop(), copy_context()
        context.run(variable.set, "its own")
        assert loop.run_until_complete(loop.create_task(look(), context=context)) == "its own"
        assert loop.run_until_complete(loop.create_task(look())) == "the request's"
        return []

    serve(app_of(view, adopt=True))


@on_worker
def test_timers_that_a_coroutine_sets() -> None:
    """An SDK that has kept the loop of its sync code sets them as on any running loop."""

    async def sleep(loop: asyncio.AbstractEventLoop) -> str:
        rang = loop.create_future()
        loop.call_later(0.01, rang.set_result, "rang")
        return str(await rang)

    def view(environ: WSGIEnvironment) -> list[bytes]:
        assert run_sync(sleep(asyncio.get_event_loop())) == "rang"
        return []

    serve(app_of(view, adopt=True))


@on_worker
def test_a_callback_from_another_thread() -> None:
    """A thread of the SDK's may wait for a task of the request's; it is called on the loop."""
    loops: list[object] = []
    called = threading.Event()

    def call(_: object) -> None:
        loops.append(asyncio.get_running_loop())
        called.set()

    def view(environ: WSGIEnvironment) -> list[bytes]:
        task = asyncio.get_event_loop().create_task(give("done"))
        thread = threading.Thread(target=task.add_done_callback, args=(call,))
        thread.start()
        thread.join(LIMIT)
        assert run_sync(asyncio.to_thread(called.wait, LIMIT))
        assert loops == [loop_from(environ).get_event_loop()]
        return []

    serve(app_of(view, adopt=True))


@on_worker
def test_a_loop_of_another_thread_does_not_get_the_requests_thread() -> None:
    """Sync code below an adopted task that runs a loop of its own is told that nobody waits."""

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop = asyncio.get_event_loop()
        task = loop.create_task(asyncio.to_thread(asyncio.run, run_in_calling_thread(int)))
        with pytest.raises(CallerNotFound):
            loop.run_until_complete(task)
        return []

    serve(app_of(view, adopt=True))
