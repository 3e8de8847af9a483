"""Hosts: each is a task that opens something on a loop, keeps it open, and closes it itself.

What is open belongs to the loop: the loop itself holds its household, as an attribute. A table of
ours with the loop as its weak key would not do, since whatever is open holds its loop: nothing of
a loop that was just dropped would ever be collected.

Only the thread that runs the loop touches a household, so nothing here takes a lock.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .checks import running_loop
from .log import logger
from .one_thread import submit_for
from .sync_calls import current_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable
    from contextlib import AbstractAsyncContextManager

    Make = Callable[[], AbstractAsyncContextManager[Any]]

__all__ = ["Household", "ResourceHost", "belongs_to_host", "household_of", "known_household"]

OPENING, OPEN, CLOSING, ENDED = range(4)

_ATTRIBUTE = "wsgi_async_household"
_INSTANCES = "wsgi_async_instances"
"""Of a loop. `LoopResource.__call__` spells the second one out: what is open, in one look-up."""

# For loops without room for an attribute (extension types): kept as long as something is open.
_elsewhere: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Household]
_elsewhere = weakref.WeakKeyDictionary()

# Whose code runs: set in a host's own context, so its child tasks and callbacks have it too. Weak,
# as a context lives as long as its task.
_owner: contextvars.ContextVar[weakref.ref[ResourceHost] | None]
_owner = contextvars.ContextVar("wsgi_async host", default=None)


class Household:
    """What is open on one loop. Lives as long as the loop."""

    def __init__(self) -> None:
        self.instances: dict[Hashable, Any] = {}
        """What is open, by key. Read from other threads too, one look-up at a time."""
        self.opening: dict[Hashable, ResourceHost] = {}
        self.hosts: list[
            ResourceHost
        ] = []  # not opening any more, in the order in which they opened
        # Whose opening or closing is held up by the opening of which key, of what name.
        self.waits: list[tuple[ResourceHost, Hashable, str]] = []
        self.ending = False  # the tasks have ended; what is closed now is not opened again
        self.closed = False  # nothing is opened any more
        self._gone: set[Hashable] = set()  # closed since `ending`

    async def instance(self, key: Hashable, name: str, make: Make) -> Any:
        """The instance of this loop, opened if it is not; on the loop only.

        Args:
            key: What the instance is kept by.
            name: What to call it in messages.
            make: Makes the async context manager to be entered; called in the host task.

        Raises:
            RuntimeError: The loop is being closed, or the instance waits for itself.
            BaseException: What the opening raised.
        """
        while key not in self.instances:
            # Again if the host was cancelled while it opened: that was not meant for us.
            with self._waiting_for(key, name):
                await self._opening_host(key, name, make).opened()
        return self.instances[key]

    def _opening_host(self, key: Hashable, name: str, make: Make) -> ResourceHost:
        host = self.opening.get(key)
        if host is None:
            if self.closed or key in self._gone:
                raise RuntimeError(
                    f"The event loop is being closed and does not open {name} any more. "
                    "Use it in a task, or in a resource that is opened after it."
                )
            host = self.opening[key] = ResourceHost(self, key, name, make)
        return host

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
        """The names on the way from a key to another, over who waits for whom.

        By key, not by host: one that closes must not open itself once more either. It ends, as
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

    def next_to_close(self) -> list[ResourceHost]:
        """All that are still opening, else the one that opened last, else none."""
        return list(self.opening.values()) or self.hosts[-1:]

    def forget(self, host: ResourceHost) -> None:
        """The host has ended, or nobody waits for its end any longer."""
        host.state = ENDED
        self.withdraw(host)
        if host in self.hosts:
            self.hosts.remove(host)

    def withdraw(self, host: ResourceHost) -> None:
        """From now on the next use opens the instance anew."""
        if self.opening.get(host.key) is host:
            del self.opening[host.key]
        elif host in self.hosts and not host.withdrawn:
            del self.instances[host.key]
        host.withdrawn = True
        if self.ending:
            self._gone.add(host.key)

    def leaving_before(self, host: ResourceHost) -> list[asyncio.Task[None]]:
        """The tasks of hosts that may use this one's instance and are about to end."""
        later = [*self.opening.values(), *self.hosts[self.hosts.index(host) + 1 :]]
        return [one.task for one in later if one.state is CLOSING or one.task.cancelling()]


class ResourceHost:
    """A task that opens, keeps and closes one instance. Lives from its first use to its closing.

    The task runs in an empty context, since it outlives whoever used the instance first. It is
    made past the loop's task factory: that is user code, and may fail.
    """

    def __init__(self, household: Household, key: Hashable, name: str, make: Make) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.name = name
        self.state = OPENING
        self.withdrawn = False
        self.household = household
        self._waiters: list[asyncio.Future[None]] = []
        self._told: asyncio.Future[None] = loop.create_future()  # to close
        context = contextvars.Context()
        context.run(_owner.set, weakref.ref(self))
        # What the opening calls of sync code runs in asgiref's one thread. If that is the thread
        # that asks, and waits, it has to be told.
        calls = current_calls.get()
        asks = submit_for.get() if calls is None else calls.background
        context.run(submit_for.set, asks)
        self.task = asyncio.Task(
            self._live(make), loop=loop, name=f"loop resource {name}", context=context
        )

    @property
    def held_up(self) -> bool:
        """Whether what its code and its child tasks wait for may hold up the host itself."""
        return self.state in (OPENING, CLOSING)

    async def opened(self) -> None:
        """Wait for the end of the opening, whichever; being cancelled does not concern the host.

        Raises:
            BaseException: What the opening raised.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            del waiter  # its exception's traceback holds this frame: no cycle

    def end(self) -> None:
        """Have the instance closed, or its opening cancelled; on the loop only."""
        if self.state is OPENING:
            self.task.cancel()
        elif not self._told.done():
            self.household.withdraw(self)
            self._told.set_result(None)

    async def _live(self, make: Make) -> None:
        try:
            manager, value = await _enter(make)
        except BaseException as error:
            if self._is_dropped():
                raise  # the loop is gone, and with it whoever might want to know
            self.household.forget(self)
            self._say_failed(error)
            return
        submit_for.set(None)
        if self.state is OPENING:  # else it resisted a stop, and is closed at once
            self._say_opened(value)
            await self._until_told()
        try:
            await manager.__aexit__(None, None, None)
        except BaseException as error:
            if self._is_dropped():
                raise
            if not self._was_cancelled(error):
                logger.error("the loop resource %s failed to close", self.name, exc_info=error)
        self.household.forget(self)

    def _say_opened(self, value: object) -> None:
        household = self.household
        self.state = OPEN
        del household.opening[self.key]
        household.hosts.append(self)
        household.instances[self.key] = value
        for waiter in self._waiting():
            waiter.set_result(None)

    def _say_failed(self, error: BaseException) -> None:
        waiters = self._waiting()
        if self._was_cancelled(error):
            for waiter in waiters:
                waiter.set_result(None)
            return
        for waiter in waiters:
            waiter.set_exception(error)
        if not waiters:
            logger.error("the loop resource %s failed to open", self.name, exc_info=error)

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
            self.household.withdraw(self)
            while self.task.cancelling():
                self.task.uncancel()  # the closing itself is not cancelled
        self.state = CLOSING

    async def _let_others_end(self) -> None:
        leaving = self.household.leaving_before(self)
        try:
            if leaving:
                await asyncio.wait(leaving)
        except asyncio.CancelledError:
            pass  # cancelled once more: somebody is in a hurry


async def _enter(make: Make) -> tuple[AbstractAsyncContextManager[Any], Any]:
    # A coroutine of its own, so that a StopIteration becomes what a future can carry.
    manager = make()
    return manager, await manager.__aenter__()


def _held_up(household: Household) -> ResourceHost | None:
    """The host in whose opening or closing the current code waits, if it does."""
    reference = _owner.get()
    host = None if reference is None else reference()
    if host is None or host.household is not household or not host.held_up:
        return None
    return host


def belongs_to_host(task: asyncio.Task[Any]) -> bool:
    """Whether a task is a host, or was started by what a host keeps open."""
    context = _context_of(task)
    reference = None if context is None else context.get(_owner)
    host = None if reference is None else reference()
    return host is not None and host.state is not ENDED


def _context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    if sys.version_info >= (3, 12):
        return task.get_context()
    # No public way before; the garbage collector's view of a task has it.
    contexts = (one for one in gc.get_referents(task) if isinstance(one, contextvars.Context))
    return next(contexts, None)


def household_of(loop: asyncio.AbstractEventLoop) -> Household:
    """The household of a loop, made if it has none; in the thread that runs the loop."""
    household = known_household(loop)
    if household is None:
        household = Household()
        try:
            setattr(loop, _ATTRIBUTE, household)
            setattr(loop, _INSTANCES, household.instances)
        except AttributeError:
            _elsewhere[loop] = household
    return household


def known_household(loop: asyncio.AbstractEventLoop) -> Household | None:
    """The household of a loop, if it has one. From any thread."""
    found: Household | None = getattr(loop, _ATTRIBUTE, None)
    return _elsewhere.get(loop) if found is None else found
