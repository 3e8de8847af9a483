"""What is open on a loop: for each, a task that opens it, keeps it open, and closes it itself.

What is open belongs to the loop: the loop itself holds its resources, as an attribute. A table of
ours with the loop as its weak key would not do, since whatever is open holds its loop: nothing of
a loop that was just dropped would ever be collected.

Only the thread that runs the loop touches a resources, so nothing here takes a lock.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import logging
import sys
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.log import report
from wsgi_async.core.jobs import bridge
from wsgi_async.core.messages.errors import ManagerStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable
    from contextlib import AbstractAsyncContextManager

    Make = Callable[[], AbstractAsyncContextManager[Any]]

__all__ = [
    "OpenResources",
    "ResourceTask",
    "belongs_to_resource",
    "context_of",
    "known_resources",
    "resources_of",
]

OPENING, OPEN, CLOSING, ENDED = range(4)

_ATTRIBUTE = "wsgi_async_resources"
_INSTANCES = "wsgi_async_instances"
"""Of a loop. `LoopResource.__call__` spells the second one out: what is open, in one look-up."""

# For loops without room for an attribute (extension types): kept as long as something is open.
_elsewhere: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenResources]
_elsewhere = weakref.WeakKeyDictionary()

# Whose code runs: set in a resource's own context, so its child tasks and callbacks have it too.
# Weak, as a context lives as long as its task.
_owner: contextvars.ContextVar[weakref.ref[ResourceTask] | None]
_owner = contextvars.ContextVar("wsgi_async resource", default=None)


class OpenResources:
    """What is open on one loop. Lives as long as the loop."""

    def __init__(self) -> None:
        self.instances: dict[Hashable, Any] = {}
        """What is open, by key. Read from other threads too, one look-up at a time."""
        self.opening: dict[Hashable, ResourceTask] = {}
        self.open: list[
            ResourceTask
        ] = []  # not opening any more, in the order in which they opened
        # Whose opening or closing is held up by the opening of which key, of what name.
        self.waits: list[tuple[ResourceTask, Hashable, str]] = []
        self.ending = False  # the tasks have ended; what is closed now is not opened again
        self.closed = False  # nothing is opened any more
        self._gone: set[Hashable] = set()  # closed since `ending`

    async def instance(self, key: Hashable, name: str, make: Make) -> Any:
        """The instance of this loop, opened if it is not; on the loop only.

        Args:
            key: What the instance is kept by.
            name: What to call it in messages.
            make: Makes the async context manager to be entered; called in its task.

        Raises:
            RuntimeError: The loop is being closed, or the instance waits for itself.
            BaseException: What the opening raised.
        """
        while key not in self.instances:
            # Again if the owner was canceled while it opened: that was not meant for us.
            with self._waiting_for(key, name):
                await self._opening(key, name, make).opened()
        return self.instances[key]

    def _opening(self, key: Hashable, name: str, make: Make) -> ResourceTask:
        owner = self.opening.get(key)
        if owner is None:
            if self.closed or key in self._gone:
                raise ManagerStateError(
                    f"The event loop is being closed and does not open {name} any more. "
                    "Use it in a task, or in a resource that is opened after it."
                )
            owner = self.opening[key] = ResourceTask(self, key, name, make)
        return owner

    @contextmanager
    def _waiting_for(self, key: Hashable, name: str) -> Generator[None, None, None]:
        waiting = _held_up(self)
        if waiting is None:
            yield
            return
        way = self._way(key, name, waiting.key)
        if way:
            raise RuntimeError(
                f"Loop resources wait for each other: {' -> '.join([waiting.name, *way])}. "
                "Take one of these uses out of its opening and closing."
            )
        wait = (waiting, key, name)
        self.waits.append(wait)
        try:
            yield
        finally:
            self.waits.remove(wait)

    def _way(self, key: Hashable, name: str, goal: Hashable) -> list[str]:
        """The names on the way from a key to another, along the waits of owners for keys.

        By key, not by owner: one that closes must not open itself once more either. It ends, as
        no cycle is ever let in.
        """
        if key == goal:
            return [name]
        for waiting, target, its_name in self.waits:
            if (
                waiting.held_up
                and waiting.key == key
                and (way := self._way(target, its_name, goal))
            ):
                return [name, *way]
        return []

    def next_to_close(self) -> list[ResourceTask]:
        """All that are still opening, else the one that opened last, else none."""
        return list(self.opening.values()) or self.open[-1:]

    def forget(self, owner: ResourceTask) -> None:
        """The owner has ended, or nobody waits for its end any longer."""
        owner.state = ENDED
        self.withdraw(owner)
        if owner in self.open:
            self.open.remove(owner)

    def withdraw(self, owner: ResourceTask) -> None:
        """From now on the next use opens the instance anew."""
        if self.opening.get(owner.key) is owner:
            del self.opening[owner.key]
        elif owner in self.open and not owner.withdrawn:
            del self.instances[owner.key]
        owner.withdrawn = True
        if self.ending:
            self._gone.add(owner.key)

    def leaving_before(self, owner: ResourceTask) -> list[asyncio.Task[None]]:
        """The tasks of resources' tasks that may use this one's instance and are about to end."""
        later = [*self.opening.values(), *self.open[self.open.index(owner) + 1 :]]
        return [one.task for one in later if one.state is CLOSING or one.task.cancelling()]


class ResourceTask:
    """A task that opens, keeps and closes one instance. Lives from its first use to its closing.

    The task runs in an empty context, since it outlives whoever used the instance first. It is
    made past the loop's task factory: that is user code, and may fail.
    """

    def __init__(self, resources: OpenResources, key: Hashable, name: str, make: Make) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.name = name
        self.state = OPENING
        self.withdrawn = False
        self.resources = resources
        self._waiters: list[asyncio.Future[None]] = []
        self._told: asyncio.Future[None] = loop.create_future()  # to close
        context = contextvars.Context()
        context.run(_owner.set, weakref.ref(self))
        if bridge.active is not None:
            bridge.active.submitted(context)
        self.task = asyncio.Task(
            self._live(make), loop=loop, name=f"loop resource {name}", context=context
        )

    @property
    def held_up(self) -> bool:
        """Whether what its code and its child tasks wait for may hold up the owner itself."""
        return self.state in (OPENING, CLOSING)

    async def opened(self) -> None:
        """Wait for the end of the opening, whichever; being canceled does not concern the owner.

        Raises:
            BaseException: What the opening raised.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            del waiter  # its exception's traceback holds this frame: avoid a cycle

    def end(self) -> None:
        """Have the instance closed, or its opening canceled; on the loop only."""
        if self.state is OPENING:
            self.task.cancel()
        elif not self._told.done():
            self.resources.withdraw(self)
            self._told.set_result(None)

    async def _live(self, make: Make) -> None:
        try:
            manager, value = await _enter(make)
        except BaseException as error:
            if self._is_dropped():
                raise  # the loop is gone, and with it whoever might want to know
            self.resources.forget(self)
            self._say_failed(error)
            return
        if self.state is OPENING:  # else it resisted a stop, and is closed at once
            self._say_opened(value)
            await self._until_told()
        try:
            await manager.__aexit__(None, None, None)
        except BaseException as error:
            if self._is_dropped():
                raise
            if not self._was_cancelled(error):
                report(
                    logging.ERROR, "the loop resource %s failed to close", self.name, error=error
                )
        self.resources.forget(self)

    def _say_opened(self, value: object) -> None:
        resources = self.resources
        self.state = OPEN
        del resources.opening[self.key]
        resources.open.append(self)
        resources.instances[self.key] = value
        for waiter in self._waiting():
            waiter.set_result(None)

    def _say_failed(self, error: BaseException) -> None:
        waiters = self._waiting()
        if self._was_cancelled(error):
            for waiter in waiters:
                waiter.set_result(None)
            return
        for waiter in waiters[1:]:
            waiter.set_exception(_copied(error))
        for waiter in waiters[:1]:
            waiter.set_exception(error)
        if not waiters:
            report(logging.ERROR, "the loop resource %s failed to open", self.name, error=error)

    def _waiting(self) -> list[asyncio.Future[None]]:
        return [waiter for waiter in self._waiters if not waiter.done()]

    def _was_cancelled(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError) and self.task.cancelling() > 0

    def _is_dropped(self) -> bool:
        """Whether nobody steps the task, and the collector ends it by a GeneratorExit.

        The instance's own code may raise one too.
        """
        return running_loop() is None or asyncio.current_task() is not self.task

    async def _until_told(self) -> None:
        """Keep the instance until `end()`, or until somebody cancels the task."""
        try:
            await self._told
        except asyncio.CancelledError:
            # Perhaps by asyncio.run(), which cancels all tasks at once and in no order.
            await self._let_others_end()
            self.resources.withdraw(self)
            while self.task.cancelling():
                self.task.uncancel()  # the closing itself is not canceled
        self.state = CLOSING

    async def _let_others_end(self) -> None:
        leaving = self.resources.leaving_before(self)
        try:
            if leaving:
                await asyncio.wait(leaving)
        except asyncio.CancelledError:
            pass  # canceled once more: somebody is in a hurry


async def _enter(make: Make) -> tuple[AbstractAsyncContextManager[Any], Any]:
    # A coroutine of its own, so that a StopIteration becomes what a future can carry.
    manager = make()
    return manager, await manager.__aenter__()


def _held_up(resources: OpenResources) -> ResourceTask | None:
    """The owner in whose opening or closing the current code waits, if it does."""
    reference = _owner.get()
    owner = None if reference is None else reference()
    if owner is None or owner.resources is not resources or not owner.held_up:
        return None
    return owner


def belongs_to_resource(task: asyncio.Task[Any]) -> bool:
    """Whether a task is a owner, or was started by what a owner keeps open."""
    context = context_of(task)
    reference = None if context is None else context.get(_owner)
    owner = None if reference is None else reference()
    return owner is not None and owner.state is not ENDED


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """The context that a task runs in, if it can be told."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # No public way before; the garbage collector's view of a task has it.
    for held in gc.get_referents(task):  # pragma: no cover - Python 3.11 only
        if isinstance(held, contextvars.Context):
            return held
    return None  # pragma: no cover - Python 3.11 only


def resources_of(loop: asyncio.AbstractEventLoop) -> OpenResources:
    """The resources of a loop, made if it has none; in the thread that runs the loop."""
    resources = known_resources(loop)
    if resources is None:
        resources = OpenResources()
        try:
            setattr(loop, _ATTRIBUTE, resources)
            setattr(loop, _INSTANCES, resources.instances)
        except AttributeError:
            _elsewhere[loop] = resources
    return resources


def known_resources(loop: asyncio.AbstractEventLoop) -> OpenResources | None:
    """The resources of a loop, if it has one. From any thread."""
    found: OpenResources | None = getattr(loop, _ATTRIBUTE, None)
    return _elsewhere.get(loop) if found is None else found


def _copied(error: BaseException) -> BaseException:
    """An exception like this one for another waiter, which gets a context and frames of its own.

    Those are of the request that waits, and no other request's to see.
    """
    try:
        made = copy.copy(error)
    except Exception:
        return error  # it cannot be made of its arguments
    if type(made) is not type(error) or made is error:
        return error
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    if hasattr(error, "__notes__"):
        made.__notes__ = list(error.__notes__)
    return made.with_traceback(error.__traceback__)
