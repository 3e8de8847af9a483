"""The ways to call async code from sync code, each ready to be timed.

Every function here is a context manager: it sets its way up in the current thread, gives the call
to time, and takes everything down again. What can be made once (a loop, a thread, a portal) is made
outside the call, as its users would.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.timing import Call
from wsgi_async import AsyncioLoopManager

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Opener = Callable[[], AbstractContextManager[Call]]
Runner = Callable[[Coroutine[Any, Any, None]], object]
Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Contender:
    """One way to call; holds nothing until it is opened.

    Args:
        key: its name in the results.
        label: its name for people.
        open: sets it up in the current thread.
        fast: stays in its thread, so that many calls fit into a round.
        ours: is measured to see what this library does.
    """

    key: str
    label: str
    open: Opener
    fast: bool = False
    ours: bool = False


async def noop() -> None:
    """Do nothing: so the whole time is that of the way to call."""


async def give_way() -> None:
    """Let the loop take one more turn, as everything does that waits for something."""
    await asyncio.sleep(0)


@contextmanager
def idle_socket(run: Runner, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have a connection that never says anything on `loop`, as an open client has.

    Args:
        run: runs a coroutine on `loop`.
        loop: gets the socket registered.
    """

    async def watch(end: socket.socket) -> None:
        loop.add_reader(end, lambda: None)

    async def forget(end: socket.socket) -> None:
        loop.remove_reader(end)

    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        run(watch(here))
        try:
            yield
        finally:
            run(forget(here))


def _perhaps_idle(
    idle: bool, run: Runner, loop: asyncio.AbstractEventLoop
) -> AbstractContextManager[None]:
    return idle_socket(run, loop) if idle else nullcontext()


@contextmanager
def manager(*, loop_factory: LoopFactory | None = None) -> Iterator[AsyncioLoopManager]:
    """Have a started manager that belongs to the current thread, and stop it."""
    made = AsyncioLoopManager(loop_factory=loop_factory)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def run(
    *, idle: bool = False, loop_factory: LoopFactory | None = None, work: Work | None = None
) -> Iterator[Call]:
    """Call `manager.run(noop())`."""
    coro = work or noop
    with (
        manager(loop_factory=loop_factory) as ours,
        _perhaps_idle(idle, ours.run, ours.get_event_loop()),
    ):
        yield lambda: ours.run(coro())


@contextmanager
def submit(
    *, idle: bool = False, loop_factory: LoopFactory | None = None, work: Work | None = None
) -> Iterator[Call]:
    """Call `manager.submit_task(noop(), return_sync_future=True).result()`."""
    coro = work or noop
    with (
        manager(loop_factory=loop_factory) as ours,
        _perhaps_idle(idle, ours.run, ours.get_event_loop()),
    ):
        yield lambda: ours.submit_task(coro(), return_sync_future=True).result()


@contextmanager
def hop(*, loop_factory: LoopFactory | None = None) -> Iterator[Call]:
    """Call `manager.run(noop())` while the keeper is busy with a tracked task all the time."""
    started = threading.Event()
    with manager(loop_factory=loop_factory) as ours:
        loop = ours.get_event_loop()
        over = asyncio.Event()

        async def stay() -> None:
            started.set()
            await over.wait()

        staying = ours.submit_task(stay(), return_sync_future=True)
        if not started.wait(10):
            raise RuntimeError("The keeper did not start the task that is to keep it busy.")
        try:
            yield lambda: ours.run(noop())
        finally:
            loop.call_soon_threadsafe(over.set)
            staying.result(10)


@contextmanager
def limit(
    *,
    idle: bool = False,
    loop_factory: LoopFactory = asyncio.new_event_loop,
    work: Work | None = None,
) -> Iterator[Call]:
    """Call `loop.run_until_complete(noop())` in the same thread: what asyncio itself takes."""
    coro = work or noop
    loop = loop_factory()
    try:
        with _perhaps_idle(idle, loop.run_until_complete, loop):
            yield lambda: loop.run_until_complete(coro())
    finally:
        loop.close()


@contextmanager
def background_loop(
    loop_factory: LoopFactory = asyncio.new_event_loop,
) -> Iterator[asyncio.AbstractEventLoop]:
    """Have a loop that runs in a thread of its own, and end both."""
    loop = loop_factory()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def threadsafe(
    *,
    idle: bool = False,
    loop_factory: LoopFactory = asyncio.new_event_loop,
    work: Work | None = None,
) -> Iterator[Call]:
    """Call `run_coroutine_threadsafe(noop(), loop).result()` with a loop thread of its own."""
    once = work or noop
    with background_loop(loop_factory) as loop:

        def wait_for(coro: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(coro, loop).result()

        with _perhaps_idle(idle, wait_for, loop):
            yield lambda: asyncio.run_coroutine_threadsafe(once(), loop).result()


@contextmanager
def threadsafe_onto(loop: asyncio.AbstractEventLoop) -> Iterator[Call]:
    """Call the same onto a loop thread that others share."""
    yield lambda: asyncio.run_coroutine_threadsafe(noop(), loop).result()


@contextmanager
def portal() -> Iterator[Call]:
    """Call `portal.call(noop)` of anyio's blocking portal, with a loop thread of its own."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as opened:
        yield lambda: opened.call(noop)


@contextmanager
def asgiref() -> Iterator[Call]:
    """Call `async_to_sync(noop)()`, as Flask and Django do for each request to an async view."""
    from asgiref.sync import async_to_sync

    def call() -> None:
        async_to_sync(noop)()

    yield call


@contextmanager
def asyncio_run() -> Iterator[Call]:
    """Call `asyncio.run(noop())`."""
    yield lambda: asyncio.run(noop())


def everyday() -> list[Contender]:
    """Return the seven ways that are compared everywhere."""
    return [*without_asgiref(), Contender("asgiref", "asgiref async_to_sync", asgiref)]


def without_asgiref() -> list[Contender]:
    """Return those that do not import asgiref: from then on, ours serve its `sync_to_async` too."""
    return [
        Contender("limit", "loop.run_until_complete (limit)", limit, fast=True),
        Contender("run", "manager.run", run, fast=True, ours=True),
        Contender("submit", "manager.submit_task().result", submit, fast=True, ours=True),
        Contender("threadsafe", "run_coroutine_threadsafe().result", threadsafe),
        Contender("asyncio_run", "asyncio.run", asyncio_run),
        Contender("portal", "anyio blocking portal", portal),
    ]


def with_idle_socket() -> list[Contender]:
    """Return the ways whose loop lives on, with an idle socket on that loop."""
    return [
        Contender("limit_idle", "limit, idle socket", partial(limit, idle=True), fast=True),
        Contender("run_idle", "manager.run, idle socket", partial(run, idle=True), True, True),
        Contender(
            "submit_idle",
            "manager.submit_task().result, idle socket",
            partial(submit, idle=True),
            fast=True,
            ours=True,
        ),
        Contender(
            "threadsafe_idle",
            "run_coroutine_threadsafe().result, idle socket",
            partial(threadsafe, idle=True),
        ),
    ]


def giving_way() -> list[Contender]:
    """Return the ways whose loop lives on, with a coroutine that waits for one turn of it."""
    ways = {"limit": limit, "run": run, "submit": submit, "threadsafe": threadsafe}
    return [
        replace(each, open=partial(ways[each.key], work=give_way))
        for each in everyday()
        if each.key in ways
    ]


def on_uvloop() -> list[Contender]:
    """Return the ways that can run on uvloop, or nothing where it is not installed."""
    if find_spec("uvloop") is None:
        return []
    import uvloop

    factory: LoopFactory = uvloop.new_event_loop
    return [
        Contender("uvloop_limit", "uvloop: limit", partial(limit, loop_factory=factory), True),
        Contender(
            "uvloop_run", "uvloop: manager.run", partial(run, loop_factory=factory), True, True
        ),
        Contender(
            "uvloop_submit",
            "uvloop: manager.submit_task().result",
            partial(submit, loop_factory=factory),
            fast=True,
            ours=True,
        ),
        Contender(
            "uvloop_threadsafe",
            "uvloop: run_coroutine_threadsafe().result",
            partial(threadsafe, loop_factory=factory),
        ),
    ]


def hops() -> list[Contender]:
    """Return the ways that change threads for each call, and the limit to compare with."""
    return [
        Contender("limit", "loop.run_until_complete (limit)", limit, fast=True),
        Contender("hop", "manager.run, keeper busy", hop, ours=True),
        Contender("threadsafe", "run_coroutine_threadsafe().result", threadsafe),
    ]
