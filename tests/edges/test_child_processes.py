"""Children of multiprocessing, which call no exit hooks of `atexit`: what they opened is closed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Worker, give, in_process, say
from tests.edges.parts import start
from wsgi_async import get_or_create_loop_manager, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

METHODS = [
    pytest.param(
        method,
        marks=pytest.mark.skipif(
            method not in multiprocessing.get_all_start_methods(), reason="not on this system"
        ),
    )
    for method in ("fork", "forkserver", "spawn")
]

kept: list[Any] = []
"""What a child's thread goes on using until the process ends."""


@loop_resource
async def client() -> AsyncIterator[int]:
    say("opened")
    yield os.getpid()
    await asyncio.sleep(0)
    say("closed")


async def clean_up() -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        say("cleaned up")


def use() -> int:
    """Open something on a loop of this thread's, and start something without an end."""
    manager = get_or_create_loop_manager()
    if not manager.running:
        manager.start()
    manager.submit_task(clean_up())
    manager.run(give(1))
    return client.get(manager)


def use_and_exit() -> None:
    """The same, and the function leaves the process."""
    use()
    sys.exit(3)


def use_in_thread() -> None:
    """The same in a thread that is still there when the process ends."""
    worker = Worker()
    kept.append(worker)
    worker.call(use)


def in_a_process(context: Any, target: Callable[[], object]) -> int:
    process = context.Process(target=target)
    process.start()
    process.join()
    return int(process.exitcode)


def process(context: Any) -> None:
    assert in_a_process(context, use) == 0


def exiting_process(context: Any) -> None:
    assert in_a_process(context, use_and_exit) == 3


def process_with_thread(context: Any) -> None:
    assert in_a_process(context, use_in_thread) == 0


def pool(context: Any) -> None:
    with context.Pool(1) as workers:
        assert workers.apply(use) != os.getpid()
        workers.close()
        workers.join()


def recycling_pool(context: Any) -> None:
    with context.Pool(1, maxtasksperchild=1) as workers:
        assert workers.apply(use) != os.getpid()
        workers.close()
        workers.join()


def executor(context: Any) -> None:
    with ProcessPoolExecutor(1, mp_context=context) as workers:
        assert workers.submit(use).result() != os.getpid()


KINDS = {
    one.__name__: one
    for one in (process, exiting_process, process_with_thread, pool, recycling_pool, executor)
}
"""Ways of multiprocessing to run something in a child."""


def child(kind: str, method: str, manager: bool) -> None:
    """Use a manager in a child of a process that may have one itself."""
    # What 3.12 and later say of forks beside threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    parents = start() if manager else None
    KINDS[kind](multiprocessing.get_context(method))
    say("back")
    if parents is not None:
        say(parents.run(give("works")))
        parents.stop()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_child_opened_is_closed_at_its_end(kind: str, method: str) -> None:
    """A child's tasks clean up and its resources are closed before it is gone."""
    out = in_process(child, kind, method, False)
    assert out.splitlines() == ["opened", "cleaned up", "closed", "back"]


@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
def test_a_forked_child_closes_its_own(kind: str) -> None:
    """Where the parent has a manager too, the child ends its own and leaves the parent's alone."""
    out = in_process(child, kind, "fork", True)
    assert out.splitlines() == ["opened", "cleaned up", "closed", "back", "works"]
