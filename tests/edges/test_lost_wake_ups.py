"""Loops that another thread has given something to do without waking them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import importlib.util
import logging
import selectors
import socket
import threading
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import (
    LIMIT,
    Worker,
    give,
    in_process,
    on_worker,
    our_log,
    reached,
    run_process,
    say,
)
from tests.edges.parts import PLACES, calling_from, start
from tests.integrations.upstream_server import counting_server
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.loops import selector as selector_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.edges.parts import Call

SOON = 3.0
"""Seconds within which a loop notices what it was not woken for; it looks once a second."""

REST = 0.1
"""Seconds after which a loop that has nothing to do waits in its selector; nothing tells of it."""


class Asleep:
    """A coroutine that waits, and ways to have it go on that wake no loop."""

    def __init__(self) -> None:
        self._began = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._event: asyncio.Event
        self._future: asyncio.Future[None]

    async def sleep(self) -> str:
        """Wait until somebody sets both."""
        self._loop = asyncio.get_running_loop()
        self._event, self._future = asyncio.Event(), self._loop.create_future()
        self._began.set()
        event = asyncio.ensure_future(self._event.wait())
        both: list[asyncio.Future[Any]] = [event, self._future]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        event.cancel()
        return "woken"

    async def items(self) -> AsyncIterator[str]:
        """The same as a stream of one item."""
        yield await self.sleep()

    def await_rest(self) -> None:
        """Wait until the loop has nothing to do."""
        reached(self._began)
        time.sleep(REST)

    def set_event(self) -> None:
        self._event.set()

    def set_result(self) -> None:
        self._future.set_result(None)

    def call_soon(self) -> None:
        self._loop.call_soon(self._event.set)


WAKES = ["set_event", "set_result", "call_soon"]
"""What a library that knows of one thread only does, in a thread that is not the loop's."""


def wait_for(call: Call, sleeper: Asleep, how: str) -> str:
    """Wait for the sleeper in one way or another."""
    if how == "run":
        return call.manager.run(sleeper.sleep())
    if how == "iterate":
        with call.manager.iterate(sleeper.items()) as items:
            return next(items)
    return call.manager.submit_task(sleeper.sleep(), how == "sync future").result()


def child(place: str, how: str, wake: str) -> None:
    """Sleep, be woken up by the wrong thread, and say how long that took."""
    # In development mode asyncio itself refuses calls from the wrong thread.
    with calling_from(place, debug=False) as call, Worker() as waker:
        sleeper = Asleep()
        took = waker.begin(time_of_wake, sleeper, wake)
        say(call(wait_for, call, sleeper, how))
        ended = time.monotonic()
        late = ended - took.result(LIMIT)
        say("soon" if late < SOON else f"after {late} seconds")


def time_of_wake(sleeper: Asleep, wake: str) -> float:
    sleeper.await_rest()
    getattr(sleeper, wake)()
    return time.monotonic()


@pytest.mark.parametrize("wake", WAKES)
@pytest.mark.parametrize("place", PLACES)
def test_a_call_that_was_not_woken_ends(place: str, wake: str) -> None:
    """A `run()` that another thread's plain `call_soon()` should end does so, a little late."""
    assert silently(child, place, "run", wake) == ["woken", "soon"]


@pytest.mark.parametrize("how", ["future", "sync future", "iterate"])
@pytest.mark.parametrize("place", PLACES)
def test_every_wait_that_was_not_woken_ends(place: str, how: str) -> None:
    """Futures and streams end as late as `run()` does, and no later."""
    assert silently(child, place, how, "call_soon") == ["woken", "soon"]


LOOPS = ["asyncio", pytest.param("uvloop", marks=needs_uvloop)]
"""Loops that a factory makes have a selector of their own, or none."""


def child_with_factory(module: str, how: str) -> None:
    """As `child()`, on a loop that the user's factory has made."""
    factory = importlib.import_module(module).new_event_loop
    # In development mode asyncio itself refuses calls from the wrong thread.
    manager = AsyncioLoopManager(loop_factory=factory, debug=False)
    with manager, Worker() as waiter:
        sleeper = Asleep()
        call = waiter.begin(WAITS[how], manager, sleeper)
        began = time_of_wake(sleeper, "call_soon")
        say(call.result(LIMIT))
        late = time.monotonic() - began
        say("soon" if late < SOON else f"after {late} seconds")


def wait_for_item(manager: AsyncioLoopManager, sleeper: Asleep) -> str:
    with manager.iterate(sleeper.items()) as items:
        return next(items)


def wait_for_entry(manager: AsyncioLoopManager, sleeper: Asleep) -> str:
    entered = manager.wrap_async_context_manager(contextlib.asynccontextmanager(sleeper.items))
    value = entered.__enter__()
    entered.__exit__(None, None, None)
    return value


WAITS = {
    "run": lambda manager, sleeper: manager.run(sleeper.sleep()),
    "iterate": wait_for_item,
    "wrap_async_context_manager": wait_for_entry,
}


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("module", LOOPS)
def test_a_loop_of_a_factory_looks_too(module: str, how: str) -> None:
    """Whatever loop it is, and whatever the thread waits for, the wait ends a little late."""
    out, err, status = run_process(child_with_factory, module, how, limit=10)
    assert status == 0, err
    assert out.splitlines() == ["woken", "soon"]


def silently(fn: Callable[..., object], *args: str) -> list[str]:
    """The lines that a child printed; what it logged is another test's."""
    out, err, status = run_process(fn, *args, limit=10)
    assert status == 0, err
    return out.splitlines()


class Kept(logging.Handler):
    """Keeps the library's warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        logging.getLogger("wsgi_async").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def child_warned(place: str) -> None:
    """Lose three wake-ups, one after another."""
    kept = Kept()
    with calling_from(place, debug=False) as call, Worker() as waker:
        for _ in range(3):
            sleeper = Asleep()
            took = waker.begin(time_of_wake, sleeper, "call_soon")
            say(call(wait_for, call, sleeper, "run"))
            took.result(LIMIT)
    say(f"{len(kept.lines)} warning")


@pytest.mark.parametrize("place", PLACES)
def test_it_is_said_once(place: str) -> None:
    """The first lost wake-up is logged as a warning, the next ones are not."""
    assert in_process(child_warned, place, limit=20).splitlines() == ["woken"] * 3 + ["1 warning"]


def child_patient(place: str) -> None:
    """Wait longer than it takes the loop to have a look."""
    kept = Kept()
    with calling_from(place) as call:
        say(call(call.manager.run, asyncio.sleep(1.5, "slept")))
    say(f"{len(kept.lines)} warnings")


@pytest.mark.parametrize("place", PLACES)
def test_a_long_wait_is_no_lost_wake_up(place: str) -> None:
    """A call that takes long, and that nobody should have woken, is not warned of."""
    assert in_process(child_patient, place, limit=10).splitlines() == ["slept", "0 warnings"]


def child_refused(place: str) -> None:
    """The wrong thread's call is refused, as asyncio does in its debug mode."""
    with calling_from(place, debug=True) as call, Worker() as waker:
        sleeper = Asleep()

        def wake() -> None:
            sleeper.await_rest()
            with pytest.raises(RuntimeError, match="thread"):
                sleeper.call_soon()
            say("refused")
            call.manager.get_event_loop().call_soon_threadsafe(sleeper.set_event)

        refused = waker.begin(wake)
        say(call(wait_for, call, sleeper, "run"))
        refused.result(LIMIT)


@pytest.mark.parametrize("place", PLACES)
def test_an_error_stays_an_error(place: str) -> None:
    """In debug mode the wrong thread gets asyncio's own error, at once."""
    assert in_process(child_refused, place, limit=10).splitlines() == ["refused", "woken"]


# -- a client that threads share -------------------------------------------------------------------

THREADS, CALLS = 8, 5


def http_library() -> Any:
    """The HTTP library at hand, the newer one first."""
    for name in ("httpx2", "httpx"):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    pytest.skip("neither httpx2 nor httpx is installed")


def child_sharing() -> None:
    """Eight threads use one client, whose four connections go from loop to loop."""
    warnings.simplefilter("ignore")  # of connections that the client has lost
    http = http_library()
    client = http.AsyncClient(timeout=None, limits=http.Limits(max_connections=4))
    workers = [Worker() for _ in range(THREADS)]
    with counting_server() as (url, _):
        managers = [worker.call(partial(start, debug=False)) for worker in workers]

        def ask(number: int) -> None:
            for _ in range(CALLS):
                try:
                    managers[number].run(client.get(url))
                except Exception:
                    continue  # many fail, as loops cannot share a client

        asked = [worker.begin(ask, number) for number, worker in enumerate(workers)]
        done, _ = concurrent.futures.wait(asked, LIMIT)
        say(f"{len(done)} threads came back")
        for worker, manager in zip(workers, managers, strict=True):
            say(str(worker.call(manager.run, give("answers"))))
        for manager in managers:
            manager.stop()
    for worker in workers:
        worker.end()


def test_threads_that_share_a_client_still_answer() -> None:
    """A client at module level, used from eight threads' loops, leaves none of them hanging."""
    http_library()
    out, err, status = run_process(child_sharing, limit=25)
    assert out.splitlines() == ["8 threads came back", *["answers"] * 8], err
    assert status == 0, err


def test_data_is_no_lost_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that had a look in vain, and then finds data, has lost no wake-up."""
    monkeypatch.setattr(selector_module, "LOOK", 0.01)
    lost: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, selector_module.WatchedSelector() as selector:
        selector.work, selector.lost = ["a task"], lambda: lost.append("lost")
        selector.register(ours, selectors.EVENT_READ)
        assert selector.select() == []
        theirs.send(b"data")
        assert [key.fileobj for key, _ in selector.select(0)] == [ours]
        assert lost == []
        ours.recv(4)
        assert selector.select() == []
        assert selector.select(0) == []
        assert lost == ["lost"]


@on_worker
def test_a_timer_just_after_a_look_is_no_lost_wake_up(caplog: pytest.LogCaptureFixture) -> None:
    """A timer that rings a moment after the loop has looked is not told of as one."""
    with AsyncioLoopManager() as manager:
        for delay in (0.001, 0.002, 0.003):
            manager.run(asyncio.sleep(selector_module.LOOK + delay))
    assert our_log(caplog) == []
