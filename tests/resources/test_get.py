"""`resource.get()`: the instance in sync code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, Worker, in_thread, on_plain_worker, on_worker, outcome
from tests.resources.parts import Gate
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager, loop_resource
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager
    from tests.resources.parts import Diary, Instance


def test_on_a_thread_without_a_manager(runner: str, diary: Diary) -> None:
    """The thread's manager is made and started, and is stopped with its thread as any other."""
    client = diary.resource("client")

    def serve() -> AsyncioLoopManager:
        instance = client.get()
        manager = get_or_create_loop_manager(strictly_get=True)
        assert instance.loop is manager.get_event_loop()
        assert client.get() is instance
        return manager

    with Worker(resident=runner == "resident") as worker:
        manager = worker.call(serve)
        assert lifecycle_of(manager).resident == (runner == "resident")
    manager.stop(LIMIT)
    assert diary.lines == ["open client", "close client"]


@on_worker
def test_on_a_thread_with_one(runner: str, diary: Diary) -> None:
    """What runs already is used, whatever its task type."""
    manager = get_or_create_loop_manager()
    manager.start("some type")
    client = diary.resource("client")
    assert client.get().loop is manager.get_event_loop()
    assert client.get() is manager.run(client(), task_type="some type")
    manager.stop()


@on_worker
def test_of_another_manager(make_manager: MakeManager, worker: Worker, diary: Diary) -> None:
    """Any manager can be named, from any thread."""
    manager = make_manager("named")
    client = diary.resource("client")
    instance = worker.call(client.get, manager)
    assert instance.loop is manager.get_event_loop()
    assert client.get(manager) is instance


@on_worker
def test_open_already(make_manager: MakeManager, worker: Worker, diary: Diary) -> None:
    """It does not wait for the loop, which may be busy."""
    manager = make_manager()
    client = diary.resource("client")
    instance = client.get(manager)
    gate = Gate()

    async def block() -> None:
        gate.entered.set()
        assert outcome(released) is instance  # the loop stands still meanwhile

    released = worker.begin(lambda: gate.entered.wait(LIMIT) and client.get(manager))
    manager.run(block())


@on_worker
def test_in_a_coroutine(make_manager: MakeManager, diary: Diary) -> None:
    """Refused, open or not, with the way out."""
    manager = make_manager()
    client = diary.resource("client")

    async def get() -> None:
        client.get(manager)

    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"await client\(\)"):
            manager.run(get())
        client.get(manager)


def test_under_another_loop(diary: Diary) -> None:
    """A loop of any other kind is not blocked either."""
    client = diary.resource("client")

    async def get() -> None:
        client.get()

    with pytest.raises(RuntimeError, match=r"await client\(\)"):
        asyncio.run(get())


@on_worker
def test_of_a_manager_that_is_not_started(make_manager: MakeManager, diary: Diary) -> None:
    """A manager that is named is used as it is."""
    client = diary.resource("client")
    with pytest.raises(RuntimeError, match="not started"):
        client.get(AsyncioLoopManager("unstarted"))
    manager = make_manager()
    client.get(manager)
    manager.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        client.get(manager)


def test_below_a_thread_with_a_loop_of_its_own(diary: Diary) -> None:
    """Such a thread may be busy or wait, so one that it has started opens its own at once."""
    client = diary.resource("client")

    def serve() -> None:
        instance = client.get()
        own = in_thread(client.get)
        assert own is not instance

    with Worker(resident=True) as worker:
        worker.call(serve)


def test_threads_that_share_a_manager(diary: Diary) -> None:
    """Threads of one lineage that come first at the same time start their manager once."""
    client = diary.resource("client")

    def serve() -> None:
        for number in range(20):
            manager = get_or_create_loop_manager(force_create=True)
            # They inherit the manager, as this thread started them.
            workers = [Worker(f"{number}") for _ in range(4)]
            loops = {outcome(one.begin(client.get)).loop for one in workers}
            assert loops == {manager.get_event_loop()}
            for worker in workers:
                worker.end()
            manager.stop()

    in_thread(serve)


@on_plain_worker
def test_in_sync_code_of_another_resource(make_manager: MakeManager, diary: Diary) -> None:
    """Sync code that a resource calls gets the instance of the resource's own loop."""
    manager = make_manager("with an id")
    pool = diary.resource("pool")

    @loop_resource
    async def user() -> AsyncIterator[Instance]:
        yield await asyncio.to_thread(pool.get)

    assert user.get(manager).loop is manager.get_event_loop()
