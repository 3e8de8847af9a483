"""What goes from a coroutine to sync code and back through asgiref: its `Local`, and waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import TYPE_CHECKING, Any

import asgiref.sync
import pytest
from asgiref.local import Local
from asgiref.sync import sync_to_async

import wsgi_async
from tests.core.support import LIMIT, Worker, give, outcome
from wsgi_async import get_or_create_loop_manager
from wsgi_async.integrations import asgiref as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager

    Convert = Callable[[Callable[..., Any]], Callable[..., Any]]
    Scenario = Callable[["Storage", Convert], list[str]]


# -- asgiref's Local -------------------------------------------------------------------------------


class Storage:
    """A `Local`, from sync code and from coroutines. Lives as long as a scenario."""

    def __init__(self, *, thread_critical: bool) -> None:
        self._local = Local(thread_critical=thread_critical)

    def put(self, value: str) -> None:
        self._local.value = value

    def get(self) -> str:
        return str(getattr(self._local, "value", "nothing"))

    def drop(self) -> None:
        if hasattr(self._local, "value"):
            del self._local.value

    async def aput(self, value: str) -> None:
        await asyncio.sleep(0)
        self.put(value)

    async def aget(self) -> str:
        await asyncio.sleep(0)
        return self.get()

    async def adrop(self) -> None:
        self.drop()


def next_call(local: Storage, convert: Convert) -> list[str]:
    convert(local.aput)("set")
    return [convert(local.aget)(), convert(local.aget)()]


def sync_code_after(local: Storage, convert: Convert) -> list[str]:
    convert(local.aput)("set")
    return [local.get()]


def sync_code_before(local: Storage, convert: Convert) -> list[str]:
    local.put("set by sync code")
    return [convert(local.aget)(), local.get()]


def both(local: Storage, convert: Convert) -> list[str]:
    local.put("set by sync code")
    convert(local.aput)("set by a coroutine")
    return [local.get(), convert(local.aget)()]


def dropped(local: Storage, convert: Convert) -> list[str]:
    local.put("set by sync code")
    convert(local.adrop)()
    return [local.get(), convert(local.aget)()]


def served(local: Storage, convert: Convert) -> list[str]:
    async def coroutine() -> list[str]:
        await local.aput("set by a coroutine")
        seen = [await sync_to_async(local.get)()]
        await sync_to_async(local.put)("set by its function")
        return [*seen, await sync_to_async(local.get)(), local.get()]

    return [*convert(coroutine)(), local.get(), convert(local.aget)()]


def nested(local: Storage, convert: Convert) -> list[str]:
    def sync() -> list[str]:
        seen = [local.get(), convert(local.aget)()]
        convert(local.aput)("set further in")
        return [*seen, local.get(), convert(local.aget)()]

    async def coroutine() -> list[str]:
        await local.aput("set by a coroutine")
        return [*(await sync_to_async(sync)()), local.get()]

    return [*convert(coroutine)(), local.get(), convert(local.aget)()]


def task(local: Storage, convert: Convert) -> list[str]:
    async def coroutine() -> list[str]:
        await local.aput("set by a coroutine")
        inner = await asyncio.create_task(local.aget())
        await asyncio.create_task(local.aput("set by its task"))
        return [inner, local.get()]

    return [*convert(coroutine)(), convert(local.aget)()]


def several(local: Storage, convert: Convert) -> list[str]:
    other = Storage(thread_critical=True)
    convert(local.aput)("one")
    convert(other.aput)("two")
    return [convert(local.aget)(), convert(other.aget)(), local.get(), other.get()]


SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (
        next_call,
        sync_code_after,
        sync_code_before,
        both,
        dropped,
        served,
        nested,
        task,
        several,
    )
}
"""What is put into a `Local` on one side, and seen on the other."""


def asgirefs(fn: Callable[..., Any]) -> Callable[..., Any]:
    return asgiref.sync.async_to_sync(fn)


def ours(fn: Callable[..., Any]) -> Callable[..., Any]:
    return wsgi_async.async_to_sync(fn)


@pytest.fixture(params=["ours", "installed"])
def convert(request: pytest.FixtureRequest) -> Iterator[Convert]:
    """Our own `async_to_sync`, and asgiref's where ours is installed."""
    if request.param == "ours":
        yield ours
        return
    integration.install()
    yield asgirefs
    integration.uninstall()


def in_new_thread(
    scenario: str, thread_critical: bool, convert: Convert, *, resident: bool = False
) -> list[str]:
    with Worker(resident=resident) as worker:
        return worker.call(SCENARIOS[scenario], Storage(thread_critical=thread_critical), convert)


def results_of_asgiref(scenario: str, thread_critical: bool) -> list[str]:
    installed = integration.installed()
    integration.uninstall()
    try:
        return in_new_thread(scenario, thread_critical, asgirefs)
    finally:
        if installed:
            integration.install()


@pytest.mark.parametrize("resident", [False, True], ids=["keeper", "resident"])
@pytest.mark.parametrize("thread_critical", [False, True], ids=["Local", "thread-critical"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_local_is_seen_where_asgiref_shows_it(
    scenario: str, thread_critical: bool, resident: bool, convert: Convert
) -> None:
    """On a loop that goes on, a `Local` has in each call what it has with asgiref alone."""
    expected = results_of_asgiref(scenario, thread_critical)
    assert in_new_thread(scenario, thread_critical, convert, resident=resident) == expected


@pytest.mark.parametrize("resident", [False, True], ids=["keeper", "resident"])
def test_a_thread_critical_local_does_not_leak_into_the_next_call(
    convert: Convert, resident: bool
) -> None:
    """What one call's coroutine stores for its thread alone, the next call does not find."""
    found = in_new_thread("next_call", True, convert, resident=resident)
    assert found == ["nothing", "nothing"]


def test_nor_into_one_on_another_loop(make_manager: MakeManager, worker: Worker) -> None:
    """Nor does a call of a sync function to a loop that is not its coroutine's."""
    local = Storage(thread_critical=True)
    manager, other = worker.call(make_manager), worker.call(make_manager)

    def function() -> str:
        other.run(local.aput("set"))
        return other.run(local.aget())

    async def coroutine() -> str:
        return await sync_to_async(function)()

    assert worker.call(manager.run, coroutine()) == "nothing"


def test_nor_into_the_next_run(make_manager: MakeManager, worker: Worker) -> None:
    """`run()` brings context variables back, but none that asgiref keeps for one thread."""
    manager, local = worker.call(make_manager), Storage(thread_critical=True)
    worker.call(manager.run, local.aput("set"))
    assert worker.call(manager.run, local.aget()) == "nothing"


# -- waits of served functions ---------------------------------------------------------------------

CALLS = 3


def wait_for_future(manager: AsyncioLoopManager) -> int:
    future = manager.submit_task(give(1))
    concurrent.futures.wait([future], LIMIT)
    return future.result()


def wait_for_result(manager: AsyncioLoopManager) -> int:
    return manager.submit_task(give(1)).result(LIMIT)


def as_completed(manager: AsyncioLoopManager) -> int:
    futures = [manager.submit_task(give(1)) for _ in range(3)]
    return sum(one.result() for one in concurrent.futures.as_completed(futures, LIMIT)) // 3


def threadsafe(manager: AsyncioLoopManager) -> int:
    loop = manager.get_event_loop()
    return asyncio.run_coroutine_threadsafe(give(1), loop).result(LIMIT)


WAITS = {one.__name__: one for one in (wait_for_future, wait_for_result, as_completed, threadsafe)}
"""Ways of a sync function to wait for a task that it starts on the loop which called it."""


@pytest.mark.parametrize("wait", WAITS)
def test_a_served_function_may_wait_for_a_task_of_its_own(wait: str, worker: Worker) -> None:
    """A function that a coroutine calls on its caller's thread waits no longer than it must."""

    def view() -> float:
        manager = get_or_create_loop_manager()
        manager.start()

        def function() -> int:
            return sum(WAITS[wait](manager) for _ in range(CALLS))

        async def coroutine() -> int:
            return await sync_to_async(function)()

        began = time.monotonic()
        assert ours(coroutine)() == CALLS
        return time.monotonic() - began

    # One that waits for a pause to be over takes a second for each call.
    assert outcome(worker.begin(view)) < 0.8
