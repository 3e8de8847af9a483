"""Async context managers as sync ones: what `wrap_async_context_manager()` returns."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.base.coroutines import close_unstarted, name_of
from wsgi_async.core.base.deadlines import bounded, time_left
from wsgi_async.core.base.log import report
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.core.messages.advice import kind_of

from .actor import Actor
from .stream import failures_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from wsgi_async.core.runners.runner import Runner

    Details = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

__all__ = [
    "ContextManagerActor",
    "SyncContextManager",
    "is_async_context_manager",
    "not_async_context_manager",
]

T_co = TypeVar("T_co", covariant=True)


class SyncContextManager(Generic[T_co]):
    """A sync context manager around an async one, for one `with` statement.

    Both `__aenter__` and `__aexit__` run in one task and one context. So an anyio task group or an
    `asyncio.timeout` can stay open for any number of `run()` calls in between. An exception in the
    `with` body reaches `__aexit__`, which can suppress it. If the task is canceled meanwhile, for
    example by a task group with a failed child, `__aexit__` runs at once, and what it raises leaves
    the `with` body at its end.

    Use it from a thread that is not running an event loop. If the garbage collector finds it open,
    it is closed in the background, with a `ResourceWarning`.
    """

    __slots__ = ("__weakref__", "_actor")

    def __init__(self, actor: ContextManagerActor) -> None:
        self._actor = actor

    def __enter__(self) -> T_co:
        """Enter, and return what `__aenter__` returns.

        Raises:
            BaseException: What `__aenter__` raised.
            WaitTimeoutError: The request's deadline has passed.
            RuntimeError: It was entered before, the manager was stopped, the process was forked,
                or this thread is running an event loop.
        """
        actor = self._actor
        if actor.begun:
            raise RuntimeError(
                f"{actor.name} has been entered before. Wrap a new context manager each time."
            )
        try:
            value = actor.call(ActorCall(actor), _INSTEAD, time_left(None))
        except TimeoutError as error:
            if actor.inside:  # `__aenter__` has swallowed the cancellation
                actor.entered = True
                with suppress(asyncio.CancelledError):
                    self.__exit__(type(error), error, error.__traceback__)
            raise
        actor.entered = True
        return value  # type: ignore[no-any-return]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Exit; True if `__aexit__` suppresses the exception.

        The request's deadline applies, also to a task group that waits for its tasks. After the
        deadline, or with an exception, `__aexit__` has at least the manager's grace.

        Raises:
            BaseException: What `__aexit__` raised.
            WaitTimeoutError: The time has passed, and `__aexit__` was canceled.
            RuntimeError: It is not entered, or was exited before; else as for `__enter__`.
        """
        try:
            return self._actor.leave((kind, error, traceback))
        except BaseException as raised:
            if raised is error:
                raised.__traceback__ = traceback  # Python raises it again, with this traceback
                return False
            if not (isinstance(error, GeneratorExit) and isinstance(raised, BaseExceptionGroup)):
                raise
            # The `with` is in a generator that is being closed, for example a response body.
            failures = failures_of(cast("BaseExceptionGroup[BaseException]", raised))
        if failures is None:
            return False
        try:
            raise failures
        finally:
            del failures  # the traceback holds this frame: avoid a cycle

    def __del__(self) -> None:
        actor = getattr(self, "_actor", None)
        if actor is None or actor.exited or actor.task is None or actor.ended:
            return
        if actor.live.inherited:
            return
        actor.abandon()
        warnings.warn(
            f"{actor.name} was entered and never exited. Use it in a with statement.",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )


_INSTEAD = "use `async with` on the context manager itself"
_GOES_ON = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions of a `with` body that a timeout of the exit does not replace."""


class ContextManagerActor(Actor):
    """Hosts an async context manager from its enter to its exit. Lives as long as its task.

    Args:
        runner: Runs its loop.
        source: The async context manager, or a function that makes it on the loop.
    """

    def __init__(
        self,
        runner: Runner,
        source: AbstractAsyncContextManager[Any, Any]
        | Callable[[], AbstractAsyncContextManager[Any, Any]],
    ) -> None:
        super().__init__(runner, contextvars.copy_context(), name_of(source))
        # Written by the user's thread:
        self.entered = False  # and not exited
        self.exited = False  # the task has ended, or was left behind
        self.inside = False  # `__aenter__` has returned; written on the loop
        self._source: Any = source  # until the task has taken it
        self._details: Details = (None, None, None)  # written before the call that reads it
        self._left_with: BaseException | None = None  # raised while no call could get it
        self._abandoned = False  # nobody will exit it; written before the loop is told
        self._left_well = False  # the exit suppressed the cancellation of the task

    def leave(self, details: Details) -> bool:
        """Exit with these details of an exception. Return whether it is suppressed."""
        if not self.entered:
            raise RuntimeError(
                f"{self.name} is not entered, or was exited before. Use it in a with statement."
            )
        refuse_in_event_loop(_INSTEAD)  # now, so that it can still be exited elsewhere
        self.entered = False
        error = details[1]
        self._details = details
        call = ActorCall(self)
        try:
            suppressed = bool(self.call(call, _INSTEAD, self._time_to_exit(error)))
        except (Exception, asyncio.CancelledError):  # no KeyboardInterrupt, nor SystemExit
            if self.live.closing and error is not None:
                return False  # the stop() has exited it; the body's error says more
            if self._left_well:
                return False
            if call.expired and isinstance(error, _GOES_ON):
                report(
                    logging.WARNING,
                    "%s: %s was not exited within %s s, and was canceled",
                    self.live.status,
                    self.label,
                    self.live.grace,
                )
                return False
            if self._left_with is None:
                raise
        else:
            return suppressed
        finally:
            self.abandon_unless_served(call)
            self.exited = True
            self._details = (None, None, None)
            del details, error
        # Raised outside of the `except`, so that its context is the body's exception.
        try:
            raise self._left_with
        finally:
            self._left_with = None

    def abandon(self) -> None:
        """As the base class. What the exit raises is then logged."""
        self._abandoned = True
        super().abandon()

    def _time_to_exit(self, error: BaseException | None) -> float | None:
        left = bounded(None)
        if left is None or (left > 0 and error is None):
            return left
        return max(left, self.live.grace)  # it cleans up

    async def act(self) -> None:
        """Enter for the first call, and exit for the second, or when the task is canceled."""
        source, self._source = self._source, None  # what it holds may refer to us: avoid a cycle
        manager = source if is_async_context_manager(source) else source()
        if not is_async_context_manager(manager):
            close_unstarted(manager)
            raise not_async_context_manager(manager)
        kind = cast("Any", type(manager))
        value = await kind.__aenter__(manager)
        self.inside = True
        self.answer(value)
        del value
        try:
            if self.leaving:
                raise asyncio.CancelledError  # `__aenter__` has swallowed it
            await self.park()
        except asyncio.CancelledError as error:
            self.leaving = True
            if not await kind.__aexit__(manager, type(error), error, error.__traceback__):
                raise
            self._left_well = True
            self.answer(False)
        else:
            self.leaving = True
            self.answer(await kind.__aexit__(manager, *self._details))

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """As the base class, but an error between the two calls is raised at the exit."""
        if self.present is None and not (cancelled or self._abandoned):
            self._left_with = error
        else:
            super().fail(error, cancelled=cancelled)


def is_async_context_manager(value: object) -> bool:
    """Whether `async with` accepts the value."""
    return hasattr(type(value), "__aenter__") and hasattr(type(value), "__aexit__")


def not_async_context_manager(value: object) -> TypeError:
    """The error for a value that is not an async context manager."""
    return TypeError(
        f"{kind_of(value)} is not an async context manager. "
        "Give an object with __aenter__() and __aexit__()."
    )
