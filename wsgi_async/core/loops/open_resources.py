"""The resources of a loop. For each, one task opens it, keeps it open, and closes it.

The loop itself holds its resources, as an attribute. A table with the loop as a weak key would not
work, because an open resource holds its loop: a loop that is dropped without a close, and all that
is on it, would never be collected.

Only the thread that runs a loop changes its `OpenResources`, so nothing here takes a lock.
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
"""A loop's attributes. `LoopResource.__call__` spells out the second one, to look up only once."""

# For loops that take no attributes (extension types). Kept as long as something is open.
_elsewhere: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenResources]
_elsewhere = weakref.WeakKeyDictionary()

# The resource task whose code runs. It is set in the resource's own context, so that child tasks
# and callbacks have it too. Weak, because a context lives as long as its task.
_owner: contextvars.ContextVar[weakref.ref[ResourceTask] | None]
_owner = contextvars.ContextVar("wsgi_async resource", default=None)


class OpenResources:
    """The resources of one loop. Lives as long as the loop."""

    def __init__(self) -> None:
        self.instances: dict[Hashable, Any] = {}
        """The open instances, by key. Other threads read it too, one look-up at a time."""
        self.opening: dict[Hashable, ResourceTask] = {}
        self.open: list[
            ResourceTask
        ] = []  # opened and not ended, in the order in which they opened
        # Which task's opening or closing waits for the opening of which key, and that key's name.
        self.waits: list[tuple[ResourceTask, Hashable, str]] = []
        self.ending = False  # the loop's tasks have ended; what closes now is not reopened
        self.closed = False  # no resource is opened any more
        self._gone: set[Hashable] = set()  # the keys of resources closed after `ending` was set

    async def instance(self, key: Hashable, name: str, make: Make) -> Any:
        """The instance of this loop. Opens it if it is not open. On the loop only.

        Args:
            key: The key of the instance.
            name: Its name in messages.
            make: Makes its async context manager; called in the task that enters it.

        Raises:
            RuntimeError: The loop is being closed, or the instance waits for itself.
            BaseException: What the opening raised.
        """
        while key not in self.instances:
            # Try again if the task was canceled while it opened: that does not concern this caller.
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
        """The names on the path from one key to another, along the waits of tasks for keys.

        The path goes by key, not by task: a task that closes must not open its own key again
        either. The search ends, because a wait that would close a cycle is never added.
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
        """All tasks that are still opening. If there are none, the one that opened last, if any."""
        return list(self.opening.values()) or self.open[-1:]

    def forget(self, owner: ResourceTask) -> None:
        """Remove a task that has ended, or that a stop no longer waits for."""
        owner.state = ENDED
        self.withdraw(owner)
        if owner in self.open:
            self.open.remove(owner)

    def withdraw(self, owner: ResourceTask) -> None:
        """Remove an instance, so that the next use opens a new one."""
        if self.opening.get(owner.key) is owner:
            del self.opening[owner.key]
        elif owner in self.open and not owner.withdrawn:
            del self.instances[owner.key]
        owner.withdrawn = True
        if self.ending:
            self._gone.add(owner.key)

    def leaving_before(self, owner: ResourceTask) -> list[asyncio.Task[None]]:
        """The resource tasks that may use this one's instance and are about to end."""
        # A stop that no longer waits for the owner has taken it off the list.
        at = self.open.index(owner) + 1 if owner in self.open else len(self.open)
        later = [*self.opening.values(), *self.open[at:]]
        return [one.task for one in later if one.state is CLOSING or one.task.cancelling()]


class ResourceTask:
    """A task that opens, keeps and closes one instance. Lives from its first use to its closing.

    The task runs in an empty context, since it outlives the code that used the instance first. It
    is made without the loop's task factory, which is user code and may fail.
    """

    def __init__(self, resources: OpenResources, key: Hashable, name: str, make: Make) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.name = name
        self.state = OPENING
        self.withdrawn = False
        self.resources = resources
        self._waiters: list[asyncio.Future[None]] = []
        self._told: asyncio.Future[None] = loop.create_future()  # done when it is told to close
        context = contextvars.Context()
        context.run(_owner.set, weakref.ref(self))
        if bridge.active is not None:
            bridge.active.submitted(context)
        self.task = asyncio.Task(
            self._live(make), loop=loop, name=f"loop resource {name}", context=context
        )

    @property
    def held_up(self) -> bool:
        """Whether a wait in its code or its child tasks may hold up the task itself."""
        return self.state in (OPENING, CLOSING)

    async def opened(self) -> None:
        """Wait until the opening has succeeded or failed. A canceled wait does not cancel it.

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
        """Have the instance closed, or its opening canceled. On the loop only."""
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
                raise  # the loop is gone, and its waiters with it
            self.resources.forget(self)
            self._say_failed(error)
            return
        if self.state is OPENING:  # else a stop has given it up: close it at once
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
        """Whether no loop runs the task, and the garbage collector ends it with a GeneratorExit.

        The exception alone does not tell: the instance's own code may raise a GeneratorExit too.
        """
        return running_loop() is None or asyncio.current_task() is not self.task

    async def _until_told(self) -> None:
        """Keep the instance open until `end()`, or until the task is canceled."""
        if self.task.cancelling() and not self._told.done():
            self._told.cancel()  # the opening has swallowed its cancellation, which comes only once
        try:
            await self._told
        except asyncio.CancelledError:
            # Perhaps asyncio.run() did it, which cancels all tasks at once and in no order.
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
            pass  # canceled once more: do not wait for the others


async def _enter(make: Make) -> tuple[AbstractAsyncContextManager[Any], Any]:
    # A separate coroutine turns a StopIteration into a RuntimeError, which a future can carry.
    manager = make()
    return manager, await manager.__aenter__()


def _held_up(resources: OpenResources) -> ResourceTask | None:
    """The resource task whose opening or closing includes the current code, if any."""
    reference = _owner.get()
    owner = None if reference is None else reference()
    if owner is None or owner.resources is not resources or not owner.held_up:
        return None
    return owner


def belongs_to_resource(task: asyncio.Task[Any]) -> bool:
    """Whether a task is a resource task, or was started by what such a task keeps open."""
    context = context_of(task)
    reference = None if context is None else context.get(_owner)
    owner = None if reference is None else reference()
    return owner is not None and owner.state is not ENDED


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """The context that a task runs in, if it can be found."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    # There is no public function before that. The garbage collector's view of a task has it.
    for held in gc.get_referents(task):  # pragma: no cover - Python 3.11 only
        if isinstance(held, contextvars.Context):
            return held
    return None  # pragma: no cover - Python 3.11 only


def resources_of(loop: asyncio.AbstractEventLoop) -> OpenResources:
    """The resources of a loop, made if it has none. In the thread that runs the loop."""
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
    """The resources of a loop, if it has any. From any thread."""
    found: OpenResources | None = getattr(loop, _ATTRIBUTE, None)
    return _elsewhere.get(loop) if found is None else found


def _copied(error: BaseException) -> BaseException:
    """A copy of an exception for another waiter, so that each has its own context and frames.

    These belong to the request that waits, and no other request may see them.
    """
    try:
        made = copy.copy(error)
        # A class that makes its arguments into a message makes another one of the copied message.
        same = type(made) is type(error) and made.args == error.args
    except Exception:
        return error  # it cannot be copied
    if not same or made is error:
        return error
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    if hasattr(error, "__notes__"):
        made.__notes__ = list(error.__notes__)
    return made.with_traceback(error.__traceback__)
