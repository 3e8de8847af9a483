"""A snapshot of what all managers of this process are doing, as plain data for JSON.

It contains no arguments and no values, only names, ages, and where each coroutine waits.
"""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from typing import TYPE_CHECKING, Any, TypedDict

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.base import threads
from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.log import request_of
from wsgi_async.core.base.primitives import Primitives
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.core.loops.open_resources import context_of, known_resources
from wsgi_async.core.managers.manager import lifecycle_of

from .stacks import Frame, await_chain, chain_of, thread_name, thread_stack

if TYPE_CHECKING:
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.life.lifecycle import Lifecycle
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Manager", "Resource", "Snapshot", "Task", "take_snapshot"]

_ANSWER = 0.2
"""Seconds that all loops together have to answer; a loop that stands still does not answer."""


class Task(TypedDict):
    """One task on a loop."""

    name: str
    request: str | None
    """The method and path of the request that it runs for, if that is known."""
    age: float | None
    """Seconds since it was submitted; None for a task that code on the loop has made."""
    waiter: str | None
    """The thread that blocks until it is done."""
    awaits: list[Frame]
    """Where it waits."""


class Resource(TypedDict):
    """One loop resource."""

    name: str
    state: str
    """`"opening"`, `"open"` or `"closing"`."""


class Manager(TypedDict):
    """One manager."""

    id: str | None
    state: str
    task_type: str | None
    runner: str | None
    """`"keeper"`, `"resident"` or `"guest"`; None if it is not started."""
    thread: str | None
    """The name of the thread that its loop runs on."""
    lineage: list[str]
    """The thread that it belongs to, the thread that started that one, and so on."""
    loop: str | None
    """The class of its loop."""
    lag: float | None
    """Seconds that its loop took to answer; None if the loop did not answer."""
    queued: int
    """Calls that have not begun."""
    tasks: list[Task]
    resources: list[Resource]
    stack: list[Frame]
    """Where the loop's thread is, if the loop did not answer."""


class Snapshot(TypedDict):
    """One process."""

    pid: int
    parent: int
    """The process that has started it, for example the server of a worker."""
    python: str
    managers: list[Manager]


def take_snapshot() -> Snapshot:
    """Look at all managers. From any thread except one that runs a loop. Takes at most 0.2 s.

    Each loop lists its own tasks between two turns. If a loop does not answer in time, this thread
    lists the loop's tasks, which stand still.
    """
    looks = [_Look(manager) for manager in AsyncioLoopManager.all_instances()]
    until = Primitives.clock() + _ANSWER
    for look in looks:
        look.wait(max(0.0, until - Primitives.clock()))
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "python": platform.python_version(),
        "managers": sorted((look.manager() for look in looks), key=_place),
    }


def _place(manager: Manager) -> tuple[list[str], str]:
    """A sort key that keeps the order the same from one snapshot to the next."""
    return manager["lineage"], str(manager["id"])


class _Look:
    """One look at one manager. Lives until its snapshot is made.

    Args:
        manager: The manager.
    """

    def __init__(self, manager: AsyncioLoopManager) -> None:
        self._manager = manager
        self._life = lifecycle_of(manager)
        self._runner = self._life.runner
        self._asked = Primitives.clock()
        self._done = threading.Event()
        # No lock: written on the loop before the event is set.
        self._lag: float | None = None
        self._tasks: list[Task] = []
        if self._runner is not None:
            self._runner.live.post(self._answer, self._runner.live)

    def _answer(self, live: LiveLoop) -> None:
        """On the loop: record the lag and the tasks."""
        lag = Primitives.clock() - self._asked
        self._tasks, self._lag = _tasks(live), lag
        self._done.set()

    def wait(self, seconds: float) -> None:
        """Wait so long for the loop's answer."""
        if self._runner is not None:
            self._done.wait(seconds)

    def manager(self) -> Manager:
        """The result."""
        manager, runner = self._manager, self._runner
        found = _without_loop(manager, self._life)
        if runner is None:
            return found
        answered = self._done.is_set()
        live = runner.live
        found["runner"] = runner.kind
        found["thread"] = thread_name(runner.owner)
        found["loop"] = f"{type(live.raw).__module__}.{type(live.raw).__qualname__}"
        found["lag"] = self._lag
        found["queued"] = len(live.queue)
        found["tasks"] = self._tasks if answered else _tasks(live)
        found["resources"] = _resources(live)
        found["stack"] = [] if answered else thread_stack(runner.owner)
        return found


def _without_loop(manager: AsyncioLoopManager, life: Lifecycle) -> Manager:
    return {
        "id": None if manager.id is None else repr(manager.id),
        "state": manager.state,
        "task_type": None if manager.task_type is None else repr(manager.task_type),
        "runner": None,
        "thread": None,
        "lineage": _lineage(life),
        "loop": None,
        "lag": None,
        "queued": 0,
        "tasks": [],
        "resources": [],
        "stack": [],
    }


def _lineage(life: Lifecycle) -> list[str]:
    with threads.lock():
        nodes = list(life.node.line())
    found = [None if node.thread is None else node.thread() for node in nodes]
    return [
        thread_name(node.ident) if thread is None else thread.name
        for node, thread in zip(nodes, found, strict=True)
    ]


def _tasks(live: LiveLoop) -> list[Task]:
    """All tasks of a loop, those of calls first, the oldest first."""
    jobs = {task: job for job in live.in_flight() if (task := job.task) is not None}
    others = asyncio.all_tasks(live.raw) - set(jobs)
    called = [
        _of_job(job, task) for task, job in sorted(jobs.items(), key=lambda each: each[1].since)
    ]
    return called + sorted(
        (_of_task(task) for task in others if not task.done()), key=lambda task: task["name"]
    )


def _of_job(job: Job, task: asyncio.Task[Any]) -> Task:
    waits = job.wakeup is not None and not job.released
    return {
        "name": job.name,
        "request": request_of(context_of(task) if isinstance(job, ActorCall) else job.context),
        "age": job.age,
        "waiter": thread_name(job.waiter) if waits else None,
        "awaits": chain_of(job),
    }


def _of_task(task: asyncio.Task[Any]) -> Task:
    name = task.get_name()
    return {
        # asyncio numbers tasks without a name.
        "name": name_of(task.get_coro()) if name.startswith("Task-") else name,
        "request": request_of(context_of(task)),
        "age": None,
        "waiter": None,
        "awaits": await_chain(task.get_coro()),
    }


_STATES = {0: "opening", 1: "open", 2: "closing"}


def _resources(live: LiveLoop) -> list[Resource]:
    resources = known_resources(live.raw)
    if resources is None:
        return []
    owners = [*resources.opening.values(), *resources.open]
    return [{"name": one.name, "state": _STATES.get(one.state, "closing")} for one in owners]
