"""Coroutines that keep state of their thread over awaits: thread-locals, locks, asgiref's Local."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from asgiref.local import Local

from tests.core.support import LIMIT, Worker, give, on_worker, outcome, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

STEPS = 12
"""Awaits that each coroutine makes with its thread's state in hand."""

CALLS = 15
"""Calls that each thread makes where several are at work at the same time."""

_local = threading.local()
_language = Local()
_strict_language = Local(thread_critical=True)


async def _pause(step: int) -> None:
    """Await a turn of the loop, a timer, or another thread."""
    if step % 3 == 0:
        await asyncio.sleep(0)
    elif step % 3 == 1:
        await asyncio.sleep(0.0005)
    else:
        await asyncio.to_thread(threading.get_ident)


async def keep_local(name: str) -> int:
    """Keep a value of the thread over awaits; the thread."""
    setattr(_local, name, name)  # a name of its own: several of these share a thread
    me = threading.get_ident()
    for step in range(STEPS):
        await _pause(step)
        assert getattr(_local, name, "lost") == name
        assert threading.get_ident() == me
    delattr(_local, name)
    return me


async def keep_lock(name: str) -> int:
    """Hold a lock over awaits that only the thread which has it can release; the thread."""
    lock = threading.RLock()
    with lock:
        for step in range(STEPS):
            await _pause(step)
            assert lock.acquire(blocking=False), f"{name}: the lock is another thread's"
        for step in range(STEPS):
            await _pause(step)
            lock.release()
    return threading.get_ident()


def keep_language(local: Local) -> Callable[[str], Coroutine[Any, Any, int]]:
    """A coroutine function that keeps a value in asgiref's storage over awaits."""

    async def keep(name: str) -> int:
        local.language = name
        for step in range(STEPS):
            await _pause(step)
            assert getattr(local, "language", "lost") == name
        return threading.get_ident()

    return keep


keeps = pytest.mark.parametrize(
    "keep",
    [keep_local, keep_lock, keep_language(_language), keep_language(_strict_language)],
    ids=["threading.local", "RLock", "Local", "thread-critical Local"],
)


@keeps
@on_worker
def test_its_own_call(
    make_manager: MakeManager, runner: str, keep: Callable[[str], Coroutine[Any, Any, int]]
) -> None:
    """Called alone, a coroutine keeps its state from its first step to its last, on one thread."""
    manager = make_manager()
    threads = {manager.run(keep(f"call {number}")) for number in range(5)}
    assert len(threads) == 1
    assert (threads == {threading.get_ident()}) == (runner == "resident")


@keeps
@pytest.mark.parametrize("return_sync_future", [False, True])
@on_worker
def test_in_the_background(
    make_manager: MakeManager,
    runner: str,
    keep: Callable[[str], Coroutine[Any, Any, int]],
    return_sync_future: bool,
) -> None:
    """Submitted, a coroutine keeps its state while calls come and go."""
    manager = make_manager()
    for number in range(5):
        future = manager.submit_task(keep(f"background {number}"), return_sync_future)
        while not future.done():
            manager.run(give(number))
        assert (future.result() == threading.get_ident()) == (runner == "resident")


@keeps
@on_worker
def test_submitted_and_awaited_within_a_call(
    make_manager: MakeManager, keep: Callable[[str], Coroutine[Any, Any, int]]
) -> None:
    """A coroutine and the one that it submits and awaits each keep their state."""
    manager = make_manager()

    async def view() -> int:
        inner = asyncio.wrap_future(manager.submit_task(keep("inner")))
        outer = await keep("outer")
        return await inner - outer

    for _ in range(5):
        assert manager.run(view()) == 0
        assert manager.submit_task(view()).result(LIMIT) == 0


@keeps
def test_several_threads_at_once(
    make_manager: MakeManager, runner: str, keep: Callable[[str], Coroutine[Any, Any, int]]
) -> None:
    """While several threads call and submit, each coroutine keeps its state."""
    together = threading.Barrier(3, timeout=LIMIT)

    def use(manager: AsyncioLoopManager, who: str) -> None:
        together.wait()
        futures = []
        for number in range(CALLS):
            name = f"{who} {number}"
            futures.append(manager.submit_task(keep(f"{name} future"), return_sync_future=False))
            if number % 2:
                futures[-1].result(LIMIT)
            manager.run(keep(f"{name} call"))
            manager.submit_task(keep(f"{name} driven"), return_sync_future=True).result(LIMIT)
        for future in futures:
            future.result(LIMIT)

    own = Worker("own", resident=runner == "resident")
    with own, Worker("second") as second, Worker("third") as third:
        manager = own.call(make_manager)
        second.call(manager.run, keep("first"))
        uses = [one.begin(use, manager, one.thread.name) for one in (own, second, third)]
        for one in uses:
            outcome(one)


@keeps
@on_worker
def test_another_thread_comes_meanwhile(
    make_manager: MakeManager, keep: Callable[[str], Coroutine[Any, Any, int]]
) -> None:
    """Work of another thread beside a call takes none of its state."""
    manager = make_manager()
    begun, visited = threading.Event(), threading.Event()

    async def view() -> int:
        begun.set()
        visit = asyncio.create_task(asyncio.to_thread(visited.wait, LIMIT))
        me = await keep("view")
        assert await visit
        return me

    def visit() -> int:
        reached(begun)
        try:
            return manager.submit_task(keep("visitor")).result(LIMIT)
        finally:
            visited.set()

    with Worker("visitor") as visitor:
        visitors = visitor.begin(visit)
        assert manager.run(view()) == outcome(visitors)


@on_worker
def test_a_view_and_its_coroutine_share_their_values(
    make_manager: MakeManager, runner: str
) -> None:
    """A coroutine sees the view's values, and the view those that it set.

    Those of a `threading.local` only where the loop lives on the view's thread.
    """
    manager = make_manager()

    async def change() -> tuple[str, int]:
        seen = _language.language
        await asyncio.sleep(0.001)
        _language.language = "fr"
        return seen, getattr(_local, "view", 0)

    _language.language = "de"
    _local.view = 1
    assert manager.run(change()) == ("de", int(runner == "resident"))
    assert _language.language == "fr"
