"""One exception that several requests get does not carry what one of them knows to the others."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from tests.core.support import LIMIT, Worker
from tests.security.parts import Failure, everything_of
from wsgi_async import AsyncioLoopManager, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def test_a_task_does_not_see_what_the_thread_is_handling() -> None:
    """A task that fails while another request handles an exception does not get that one too."""

    async def background(may_fail: asyncio.Event) -> None:
        await may_fail.wait()
        raise Failure("secret-1-1")

    async def let_it_fail(may_fail: asyncio.Event) -> None:
        may_fail.set()
        await asyncio.sleep(0.001)

    def two_requests() -> str:
        may_fail = asyncio.Event()
        with AsyncioLoopManager() as loop:
            first = loop.submit_task(background(may_fail))
            try:
                raise Failure("secret-2-2")
            except Failure:
                loop.run(let_it_fail(may_fail))
            error = first.exception(LIMIT)
        assert error is not None
        return everything_of(error)

    with Worker(resident=True) as worker:
        seen = worker.call(two_requests)
    assert "secret-1-1" in seen
    assert "secret-2-2" not in seen


def test_waiters_for_one_failed_opening_do_not_see_each_other() -> None:
    """Requests that wait for one resource that fails to open each get an exception of their own."""
    may_fail = threading.Event()

    @loop_resource
    async def broken() -> AsyncIterator[None]:
        await asyncio.to_thread(may_fail.wait, LIMIT)
        raise Failure("it cannot be opened")
        yield

    async def use(secret: str, both: asyncio.Barrier) -> str:
        try:
            raise Failure(secret)
        except Failure:
            await both.wait()
            try:
                await broken()
            except Failure as error:
                await both.wait()  # the other one has it too
                return everything_of(error)
        raise AssertionError("it was opened")

    with AsyncioLoopManager() as loop:
        both = asyncio.Barrier(2)
        futures = {
            secret: loop.submit_task(use(secret, both)) for secret in ("secret-1-1", "secret-2-2")
        }
        loop.run(asyncio.sleep(0.01))
        may_fail.set()
        for secret, future in futures.items():
            seen = future.result(LIMIT)
            assert "it cannot be opened" in seen
            for other in futures.keys() - {secret}:
                assert other not in seen


def test_waiters_of_one_stopped_manager_do_not_see_each_other() -> None:
    """When a manager is stopped, each waiting thread's error knows its own thread's past only."""
    loop = AsyncioLoopManager()
    loop.start()
    begun = threading.Barrier(3)

    async def wait() -> None:
        await asyncio.to_thread(begun.wait, LIMIT)
        await asyncio.Event().wait()

    def work(secret: str) -> str:
        try:
            raise Failure(secret)
        except Failure:
            try:
                loop.run(wait())
            except RuntimeError as error:
                return everything_of(error)
        raise AssertionError("it was not stopped")

    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(2)]
        seen = [
            worker.begin(work, f"secret-{number}-{number}") for number, worker in enumerate(workers)
        ]
        begun.wait(LIMIT)
        loop.stop()
        texts = [future.result(LIMIT) for future in seen]
    assert "secret-0-0" in texts[0]
    assert "secret-1-1" not in texts[0]
    assert "secret-1-1" in texts[1]
    assert "secret-0-0" not in texts[1]
