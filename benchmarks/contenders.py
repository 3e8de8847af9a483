"""The ways to call async code from sync code, each ready to be timed.

Every way here is a context manager: it sets itself up in the current thread, gives the call to
time, and takes everything down again. What can be made once (a loop, a thread, a portal) is made
outside the call, as its users would.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.timing import Call
from benchmarks.work import OnLoop, Setting, noop
from wsgi_async import AsyncioLoopManager

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Opener = Callable[[Setting], AbstractContextManager[Call]]


@dataclass(frozen=True)
class Contender:
    """One way to call; holds nothing until it is opened.

    Args:
        key: its name in the results.
        label: its name for people.
        open: sets it up in the current thread.
        fast: stays in its thread, so that many calls fit into a round.
        resident: its manager lives on the worker thread that calls.
    """

    key: str
    label: str
    open: Opener
    fast: bool = False
    resident: bool = False


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
def run_on(ours: AsyncioLoopManager, setting: Setting) -> Iterator[Call]:
    """Call `manager.run(noop())` of a manager that is there."""
    with setting(OnLoop(ours.run, ours.submit_task)) as work:
        yield lambda: ours.run(work())


@contextmanager
def run(setting: Setting, *, loop_factory: LoopFactory | None = None) -> Iterator[Call]:
    """Call `manager.run(noop())`."""
    with manager(loop_factory=loop_factory) as ours, run_on(ours, setting) as call:
        yield call


@contextmanager
def submit(setting: Setting) -> Iterator[Call]:
    """Call `manager.submit_task(noop()).result()`."""
    with manager() as ours, setting(OnLoop(ours.run, ours.submit_task)) as work:
        yield lambda: ours.submit_task(work()).result()


@contextmanager
def limit(
    setting: Setting, *, loop_factory: LoopFactory = asyncio.new_event_loop
) -> Iterator[Call]:
    """Call `loop.run_until_complete(noop())` in the same thread: what asyncio itself takes."""
    loop = loop_factory()
    try:
        with setting(OnLoop(loop.run_until_complete, loop.create_task)) as work:
            yield lambda: loop.run_until_complete(work())
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
    setting: Setting, *, loop_factory: LoopFactory = asyncio.new_event_loop
) -> Iterator[Call]:
    """Call `run_coroutine_threadsafe(noop(), loop).result()` with a loop thread of its own."""
    with background_loop(loop_factory) as loop, threadsafe_onto(loop, setting) as call:
        yield call


@contextmanager
def threadsafe_onto(loop: asyncio.AbstractEventLoop, setting: Setting) -> Iterator[Call]:
    """Call the same onto a loop thread that is there."""
    start = asyncio.run_coroutine_threadsafe

    def wait_for(coro: Coroutine[Any, Any, object]) -> object:
        return start(coro, loop).result()

    with setting(OnLoop(wait_for, lambda coro: start(coro, loop))) as work:
        yield lambda: asyncio.run_coroutine_threadsafe(work(), loop).result()


# No loop of these three lives on for a setting to prepare: they call `noop()` alone.


@contextmanager
def portal(_: Setting) -> Iterator[Call]:
    """Call `portal.call(noop)` of anyio's blocking portal, with a loop thread of its own."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as opened:
        yield lambda: opened.call(noop)


@contextmanager
def asgiref(_: Setting) -> Iterator[Call]:
    """Call `async_to_sync(noop)()`, as Flask and Django do for each request to an async view."""
    from asgiref.sync import async_to_sync

    def call() -> None:
        async_to_sync(noop)()

    yield call


@contextmanager
def asyncio_run(_: Setting) -> Iterator[Call]:
    """Call `asyncio.run(noop())`."""
    yield lambda: asyncio.run(noop())


def living() -> list[Contender]:
    """Return the ways whose loop lives on from call to call."""
    return [
        Contender("limit", "loop.run_until_complete (limit)", limit, fast=True),
        Contender("resident", "manager.run, loop on the worker", run, fast=True, resident=True),
        Contender("keeper", "manager.run, loop on its own thread", run),
        Contender("threadsafe", "run_coroutine_threadsafe().result", threadsafe),
    ]


def without_asgiref() -> list[Contender]:
    """Return the ways that do not import asgiref, which ours look after from then on."""
    return [
        *living(),
        Contender(
            "resident_submit",
            "manager.submit_task().result, loop on the worker",
            submit,
            fast=True,
            resident=True,
        ),
        Contender("keeper_submit", "manager.submit_task().result, loop on its own thread", submit),
        Contender("asyncio_run", "asyncio.run", asyncio_run),
        Contender("portal", "anyio blocking portal", portal),
    ]


def everyday() -> list[Contender]:
    """Return all of them."""
    return [*without_asgiref(), Contender("asgiref", "asgiref async_to_sync", asgiref)]


def on_uvloop() -> list[Contender]:
    """Return the ways whose loop lives on, on uvloop, or nothing where it is not installed."""
    if find_spec("uvloop") is None:
        return []
    import uvloop

    def way(key: str, label: str, opener: Callable[..., Any], **facts: bool) -> Contender:
        opened = partial(opener, loop_factory=uvloop.new_event_loop)
        return Contender(f"uvloop_{key}", f"uvloop: {label}", opened, **facts)

    return [
        way("limit", "loop.run_until_complete", limit, fast=True),
        way("resident", "manager.run, loop on the worker", run, fast=True, resident=True),
        way("keeper", "manager.run, loop on its own thread", run),
        way("threadsafe", "run_coroutine_threadsafe().result", threadsafe),
    ]
