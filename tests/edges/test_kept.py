"""What calls keep alive: nothing, once they are over."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import itertools
import sysconfig
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT
from tests.edges.parts import PLACES, QUICK, calling_from, is_gone
from tests.middleware.wsgi import serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    loop_from,
    run_in_calling_thread,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


SOON = 1.5
"""Seconds within which something dies that nobody keeps; the grace is longer."""


class Local:
    """What a coroutine has in a local variable."""


class Refs:
    """Makes locals, and watches them."""

    def __init__(self) -> None:
        self.seen: list[weakref.ref[Local]] = []

    def make(self) -> Local:
        """A new one, which is watched."""
        local = Local()
        self.seen.append(weakref.ref(local))
        return local

    async def forever(self) -> None:
        """Wait for what does not come."""
        local = self.make()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            assert local is not None

    async def items(self) -> AsyncIterator[int]:
        """Yield, then wait for what does not come."""
        local = self.make()
        yield 1
        await asyncio.get_running_loop().create_future()
        assert local is not None

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Hold on to something, and wait at the end."""
        local = self.make()
        yield
        await asyncio.get_running_loop().create_future()
        assert local is not None

    def all_gone(self) -> bool:
        """Whether nobody keeps any of them."""
        assert self.seen
        return all(is_gone(one, within=SOON) for one in self.seen)


def timed_out(use: Callable[[], Any]) -> None:
    """Call something that times out; its error, and what that refers to, is gone afterwards."""
    try:
        use()
    except (TimeoutError, concurrent.futures.TimeoutError):
        return
    raise AssertionError("it returned")


def in_scope(use: Callable[[AsyncioLoopManager], Any]) -> None:
    """Call something under a request's deadline."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scope_from(environ).timeout(QUICK)
        timed_out(lambda: use(loop_from(environ)))
        start_response("200 OK", [])
        return []

    serve(AsyncLoopMiddleware(app))


def run(manager: AsyncioLoopManager, refs: Refs) -> None:
    timed_out(lambda: manager.run(refs.forever(), timeout=QUICK))


def run_in_scope(_: AsyncioLoopManager, refs: Refs) -> None:
    in_scope(lambda manager: manager.run(refs.forever()))


def argument(manager: AsyncioLoopManager, refs: Refs) -> None:
    async def waits(_: Local) -> None:
        await asyncio.get_running_loop().create_future()

    timed_out(lambda: manager.run(waits(refs.make()), timeout=QUICK))


def iterate_in_scope(_: AsyncioLoopManager, refs: Refs) -> None:
    in_scope(lambda manager: list(manager.iterate(refs.items())))


def prefetch_in_scope(_: AsyncioLoopManager, refs: Refs) -> None:
    in_scope(lambda manager: list(manager.iterate(refs.items(), prefetch=2)))


def leave_in_scope(_: AsyncioLoopManager, refs: Refs) -> None:
    def use(manager: AsyncioLoopManager) -> None:
        with manager.wrap_async_context_manager(refs.entered()):
            pass

    in_scope(use)


def sync_future(manager: AsyncioLoopManager, refs: Refs) -> None:
    future = manager.submit_task(refs.forever(), return_sync_future=True)
    timed_out(lambda: future.result(QUICK))
    future.cancel()
    concurrent.futures.wait([manager.submit_task(asyncio.sleep(0))], LIMIT)


def failed(manager: AsyncioLoopManager, refs: Refs) -> None:
    async def fails() -> None:
        local = refs.make()
        await asyncio.sleep(0)
        raise LookupError(id(local))

    with pytest.raises(LookupError):
        manager.run(fails(), timeout=60)


def returned(manager: AsyncioLoopManager, refs: Refs) -> None:
    async def returns() -> Local:
        await asyncio.sleep(0)
        return refs.make()

    assert isinstance(manager.run(returns(), timeout=60), Local)


def timer(manager: AsyncioLoopManager, refs: Refs) -> None:
    async def waits() -> None:
        local = refs.make()
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()
        assert local is not None

    # A timer that was canceled stays on the loop as long as an earlier one is before it.
    first = manager.submit_task(asyncio.sleep(LIMIT))
    timed_out(lambda: manager.run(waits(), timeout=QUICK))
    assert refs.all_gone()
    first.cancel()


ENDS = {one.__name__: one for one in (run, argument, sync_future, failed, returned, timer)}
"""How a call with a limit may end."""

ENDS_OF_REQUESTS = {
    one.__name__: one for one in (run_in_scope, iterate_in_scope, prefetch_in_scope, leave_in_scope)
}
"""The same for the deadline of a request."""


@pytest.mark.parametrize(
    ("end", "place"),
    [
        *itertools.product(ENDS, PLACES),
        # A manager of the middleware's ends with its thread.
        *itertools.product(ENDS_OF_REQUESTS, ["worker"]),
    ],
)
def test_locals_die_with_the_call(end: str, place: str) -> None:
    """What a coroutine had in its locals is freed when its call is over, not after the grace."""
    refs = Refs()
    with calling_from(place, grace=30) as call:
        call({**ENDS, **ENDS_OF_REQUESTS}[end], call.manager, refs)
        assert refs.all_gone()


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="a free-threaded build frees objects of several threads late",
)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fails", [False, True])
def test_a_function_of_the_waiting_thread_leaves_no_cycle(place: str, fails: bool) -> None:
    """What it had is freed at once, and not when the garbage collector comes by."""
    refs = Refs()

    def check(local: Local) -> Local:
        if fails:
            raise LookupError(id(local))
        return local

    async def asks() -> None:
        await run_in_calling_thread(check, refs.make())

    def ask(manager: AsyncioLoopManager) -> None:
        with contextlib.suppress(LookupError):
            manager.run(asks())

    with calling_from(place) as call:
        gc.disable()
        try:
            call(ask, call.manager)
            call(call.manager.run, asyncio.sleep(0))  # the loop has let go of it by then
            assert [one() for one in refs.seen] == [None]
        finally:
            gc.enable()


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="a free-threaded build frees objects of several threads late",
)
def test_a_failed_call_within_a_function_leaves_no_cycle() -> None:
    """What its frames hold is gone with the exception, without the collector."""
    refs = Refs()

    async def fail(local: Local) -> None:
        await asyncio.sleep(0)
        raise LookupError(local)

    def use(manager: AsyncioLoopManager) -> None:
        local = refs.make()

        async def ask() -> None:
            await run_in_calling_thread(lambda: manager.run(fail(local)))

        with contextlib.suppress(LookupError):
            manager.run(ask())

    with AsyncioLoopManager() as manager:
        gc.disable()
        try:
            use(manager)
            manager.run(asyncio.sleep(0.01))
            assert refs.seen[0]() is None
        finally:
            gc.enable()
