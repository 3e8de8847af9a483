"""`wait_for_tasks()`: what a view has left in the background is done before a test looks at it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, Endless, Worker, on_worker, reached
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import serve
from wsgi_async import AsyncioLoopManager, loop_from, loop_resource, run
from wsgi_async.testing import wait_for_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from wsgiref.types import WSGIEnvironment

    from tests.core.conftest import MakeManager


@on_worker
def test_what_a_view_has_left_is_waited_for() -> None:
    """The tasks that it submitted, those that these started, and what is only a task of asyncio."""
    done: list[str] = []

    async def later(name: str, *others: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        if others:
            asyncio.ensure_future(later(*others))  # noqa: RUF006 - left behind on purpose
        done.append(name)

    async def leave() -> None:
        asyncio.ensure_future(later("of a coroutine", "of that"))  # noqa: RUF006 - likewise

    def view(environ: WSGIEnvironment) -> list[bytes]:
        loop = loop_from(environ)
        loop.submit_task(later("submitted", "of a task"))
        loop.run(leave())
        return []

    serve(app_of(view))
    wait_for_tasks()
    assert sorted(done) == ["of a coroutine", "of a task", "of that", "submitted"]
    wait_for_tasks()  # with nothing left it returns


@on_worker
def test_a_resource_is_not_waited_for() -> None:
    """What a loop resource keeps running lives as long as the loop."""

    @loop_resource
    async def client() -> AsyncIterator[int]:
        task = asyncio.ensure_future(asyncio.sleep(LIMIT))
        yield 1
        task.cancel()

    assert run(client()) == 1
    wait_for_tasks()


def test_what_does_not_end_is_named(make_manager: MakeManager) -> None:
    """The error says which coroutine is unfinished, and after how long."""
    manager, endless = make_manager("mail"), Endless()
    manager.submit_task(endless.wait())
    reached(endless.began)
    with pytest.raises(TimeoutError, match=r"after 0.05 s: the coroutine Endless.wait .*'mail'"):
        wait_for_tasks(manager, timeout=0.05)


def test_a_loop_that_stands_still_is_not_waited_for(make_manager: MakeManager) -> None:
    """The wait ends in time although the loop cannot answer, and names what blocks it."""
    manager, began, go = make_manager("mail"), threading.Event(), threading.Event()

    async def blocking() -> None:
        began.set()
        go.wait(LIMIT)

    future = manager.submit_task(blocking())
    reached(began)
    try:
        with pytest.raises(TimeoutError, match=r"after 0.05 s: the coroutine .*blocking"):
            wait_for_tasks(manager, timeout=0.05)
        assert not future.done()
    finally:
        go.set()
    future.result(LIMIT)


def test_it_is_refused_in_a_coroutine(make_manager: MakeManager) -> None:
    """There it would block the loop."""
    manager = make_manager()

    async def wait() -> None:
        wait_for_tasks(manager)

    with pytest.raises(RuntimeError, match="await the tasks themselves"):
        asyncio.run(wait())


def test_a_manager_that_is_not_started() -> None:
    """It is an error, as for everything that needs the loop."""
    with pytest.raises(RuntimeError, match="not started"):
        wait_for_tasks(AsyncioLoopManager())


def test_a_task_that_has_not_begun_is_waited_for(make_manager: MakeManager) -> None:
    """Other threads may submit at any moment."""
    manager, over = make_manager(), threading.Event()

    def submit() -> None:
        while not over.is_set():
            manager.submit_task(asyncio.sleep(0)).result(LIMIT)

    with Worker() as one:
        submitting = one.begin(submit)
        for _ in range(100):
            wait_for_tasks(manager, timeout=LIMIT)
        over.set()
        submitting.result(LIMIT)
