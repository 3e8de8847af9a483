"""Find work that is unfinished on a manager, and wait for work that is about to end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.core.loops.open_resources import belongs_to_resource
from wsgi_async.core.managers.current import current_manager
from wsgi_async.core.managers.manager import lifecycle_of

from .found import describe

if TYPE_CHECKING:
    from collections.abc import Container

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["left_on", "outlast", "unfinished", "wait_for_tasks"]

_MOMENT = 0.001
"""Seconds between two looks at jobs that are about to begin."""

_MARGIN = 1.0
"""Seconds for a loop to answer the question; a blocked loop does not answer."""


def wait_for_tasks(manager: AsyncioLoopManager | None = None, timeout: float = 5.0) -> None:
    """Wait until a manager has no unfinished tasks, for example those that a view has submitted.

    What `submit_task()` and `asyncio.create_task()` have started on its loop counts. What a loop
    resource keeps running does not. From sync code, in any thread.

    Args:
        manager: The manager; with None the one that `current_manager()` finds. In a test that is
            the one of the test's thread, which also runs the requests of most test clients.
        timeout: Seconds.

    Raises:
        TimeoutError: Something is unfinished. The message names it.
        RuntimeError: The manager is not started, or this thread is running an event loop.
    """
    manager = manager or current_manager()
    live = _live(manager)
    if live is None:
        raise lifecycle_of(manager).refusal()
    refuse_in_event_loop("await the tasks themselves")
    waiting = _until_ended(live, (), time.monotonic() + timeout)
    future = manager.submit_task(waiting, task_type=manager.task_type)
    try:
        left = future.result(timeout + _MARGIN)
    except TimeoutError:  # the loop stands still
        left = [work for work in _on(live) if not _runs(work, waiting)]
    finally:
        future.cancel()
    if left:
        names = " ".join(_name(work, live) for work in left)
        raise TimeoutError(f"Unfinished after {timeout} s: {names}")


def unfinished(manager: AsyncioLoopManager) -> list[Job | asyncio.Task[Any]]:
    """A manager's jobs, started or not, and tasks of its loop without a job. From any thread."""
    live = _live(manager)
    return [] if live is None else _on(live)


def _live(manager: AsyncioLoopManager) -> LiveLoop | None:
    runner = lifecycle_of(manager).runner
    return None if runner is None else runner.live


def _on(live: LiveLoop) -> list[Job | asyncio.Task[Any]]:
    with live.mutex:
        jobs = [*live.queue, *live.jobs]
    tasks = asyncio.all_tasks(live.raw) - {task for job in jobs if (task := job.task) is not None}
    # What a loop resource keeps open is meant to stay open until the manager is stopped.
    return [*jobs, *(task for task in tasks if not belongs_to_resource(task))]


def outlast(manager: AsyncioLoopManager, known: Container[object], deadline: float) -> list[str]:
    """Name the unfinished, unknown work on a manager that does not end before the deadline."""
    live = _live(manager)
    if live is None or (live.closing and all(work in known for work in _on(live))):
        return []
    # Ask the loop even if no work is visible. Another thread may just have handed work to the loop,
    # for example by asyncio.run_coroutine_threadsafe(). That is not a task before the next turn.
    waiting = _until_ended(live, known, deadline)
    try:
        # Not through the manager, which may be stopping.
        future = asyncio.run_coroutine_threadsafe(waiting, live.raw)
    except RuntimeError:  # pragma: no cover - a race: the loop has just been closed
        waiting.close()  # no work is left
        return []
    try:
        left = future.result(max(0.0, deadline - time.monotonic()) + _MARGIN)
    except concurrent.futures.TimeoutError:
        future.cancel()
        left = [work for work in _on(live) if work not in known and not _runs(work, waiting)]
    except concurrent.futures.CancelledError:
        return []  # the loop was stopped meanwhile
    return [_name(work, live) for work in left]


async def _until_ended(
    live: LiveLoop, known: Container[object], deadline: float
) -> list[Job | asyncio.Task[Any]]:
    me = asyncio.current_task()
    while True:
        left = [work for work in _on(live) if _task_of(work) is not me and work not in known]
        tasks = [task for task in map(_task_of, left) if task is not None]
        seconds = deadline - time.monotonic()
        if not left or seconds <= 0:
            return left
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        else:
            await asyncio.sleep(_MOMENT)  # they have not begun


def left_on(loop: asyncio.AbstractEventLoop, known: Container[object]) -> list[str]:
    """Name the new tasks on a loop that does not belong to a manager.

    Empty if the loop is running: a server's tasks come and go, whatever the test does.
    """
    if loop.is_running():
        return []
    return [
        _name_task(task, f"the loop {loop!r}")
        for task in asyncio.all_tasks(loop)
        if task not in known and not belongs_to_resource(task)
    ]


def _runs(work: Job | asyncio.Task[Any], coro: object) -> bool:
    found = work.get_coro() if isinstance(work, asyncio.Task) else getattr(work, "coro", None)
    return found is coro


def _task_of(work: Job | asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    return work if isinstance(work, asyncio.Task) else work.task


def _name(work: Job | asyncio.Task[Any], live: LiveLoop) -> str:
    actor = next((one for one in live.actors.copy() if one.task is _task_of(work)), None)
    if actor is not None:
        return (
            f"{actor.name}, iterated over or entered and still open on {live.label}. Use the "
            "iterator or the context manager in a with statement."
        )
    if isinstance(work, asyncio.Task):
        return _name_task(work, f"the loop of {live.label}")
    what = work.name if isinstance(work, ActorCall) else describe(work.coro)
    return f"the coroutine {what}, unfinished on {live.label}. Wait for its future, or cancel it."


def _name_task(task: asyncio.Task[Any], where: str) -> str:
    what = f"the task {task.get_name()!r}, {describe(task.get_coro())},"
    return f"{what} on {where}. Await it, or cancel it."
