"""Views that use threads, exceptions from outside, tracers, and many applications."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import importlib
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from tests.faults.site import GRACE, application, forever, give, view, wait_for_word
from tests.servers.apps import say
from tests.servers.process import wait_until
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    loop_from,
    run,
    run_in_calling_thread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


class Injected(Exception):
    """Raised in a thread from outside."""


_waiting: list[tuple[int, AsyncioLoopManager]] = []


@view
def injected(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Wait for the test, while another request raises an exception in this thread."""
    _waiting.append((threading.get_ident(), loop))
    return loop.run(wait_for_word(int(query["port"])))


@view
def inject(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Raise it there, while its loop sleeps: asyncio's own steps do not survive everything."""
    ident, waited = _waiting.pop()
    selector = waited._life.runner.live.selector  # type: ignore[union-attr]
    wait_until(lambda: selector.asleep, what="the loop sleeps")  # type: ignore[union-attr]
    target = ctypes.c_ulong(ident)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(Injected)) == 1
    return b"injected"


def ring(*_: object) -> NoReturn:
    raise Injected("by the alarm")


async def say_when_canceled() -> None:
    try:
        await forever()
    finally:
        say("wait canceled")


@view
def alarm(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """A signal handler raises while the main thread waits for a coroutine."""
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        loop.run(say_when_canceled())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return b"never"


# -- tracers ---------------------------------------------------------------------------------------


def everything(loop: AsyncioLoopManager) -> bytes:
    """Work that a tracer sees: calls, a task, a thread of a coroutine's."""
    future = loop.submit_task(give(b"1"))
    return loop.run(give(b"2")) + future.result() + loop.run(asyncio.to_thread(bytes, b"3"))


def trace(*_: object) -> Any:
    return trace


@view
def traced(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return under(sys.settrace, threading.settrace, trace, loop)


@view
def profiled(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return under(sys.setprofile, threading.setprofile, trace, loop)


def under(here: Callable[..., None], new: Callable[..., None], function: Any, loop: Any) -> bytes:
    """Do everything under a tracer in this thread, its loop's and in new ones."""
    loop.run(install(here, function))
    here(function)
    new(function)
    try:
        return everything(loop)
    finally:
        here(None)
        new(None)
        loop.run(install(here, None))


async def install(here: Callable[..., None], function: Any) -> None:
    here(function)


@view
def covered(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    coverage = importlib.import_module("coverage").Coverage(data_file=None)
    coverage.start()
    try:
        return everything(loop)
    finally:
        coverage.stop()


@view
def dumped(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Write the stacks of all threads while coroutines run."""
    future = loop.submit_task(asyncio.to_thread(faulthandler.dump_traceback, sys.stderr))
    body = everything(loop)
    future.result(10)
    return body


# -- many ------------------------------------------------------------------------------------------


@view
def churn(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Short threads that call async code."""
    before = len(AsyncioLoopManager.all_instances())
    for _ in range(10):
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(lambda number: run(give(number)), range(5))) == list(range(5))
    tick = threading.Event()
    while len(AsyncioLoopManager.all_instances()) > before:
        tick.wait(0.005)
    return b"50 threads"


@application
def factories(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A thousand applications made and called in one process."""
    managers = set()

    def inner(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        managers.add(id(loop_from(environ)))
        return [loop_from(environ).run(give(b"inner"))]

    for _ in range(1000):
        assert list(AsyncLoopMiddleware(inner, grace=GRACE, debug=False)({}, start_response)) == [
            b"inner"
        ]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d manager" % len(managers)]


@view
def start_and_stop(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Threads use one manager while others start and stop it: an answer, or a refusal."""
    shared = AsyncioLoopManager("shared")
    end = threading.Event()

    def use() -> set[str]:
        seen = set()
        while not end.is_set():
            try:
                seen.add(str(shared.run(give("answer"))))
            except (RuntimeError, asyncio.CancelledError) as error:
                seen.add(type(error).__name__)
                end.wait(0.001)  # it would refuse thousands of times, and keep the others waiting
        return seen

    with ThreadPoolExecutor(4) as pool:
        users = [pool.submit(use) for _ in range(4)]
        for _ in range(50):
            shared.start()
            shared.run(give(1))
            shared.stop()
        end.set()
        seen = set().union(*(user.result(10) for user in users))
    return (
        b"an answer or a refusal" if seen <= {"answer", "ManagerStateError"} else b"something else"
    )


@view
def nested(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """A view that calls a coroutine that calls a function that calls a coroutine that waits."""
    return loop.run(outer(loop))


async def outer(loop: AsyncioLoopManager) -> bytes:
    await run_in_calling_thread(lambda: loop.run(forever()))
    return b"never"
