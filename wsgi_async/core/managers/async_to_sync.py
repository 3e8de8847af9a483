"""`async_to_sync`: an async function as a sync one, on the thread's own loop, which stays open.

Replaces asgiref's function of that name, and has its calling conventions. asgiref makes a loop for
each call. This function uses the loop that the thread already has.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import warnings
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.base.coroutines import close_unstarted, name_after
from wsgi_async.core.jobs import bridge
from wsgi_async.core.messages.errors import Closing, ManagerStateError
from wsgi_async.core.runners.run import run
from wsgi_async.core.runners.runner import runner_of

from .current import current_manager
from .manager import AsyncioLoopManager, lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from wsgi_async.core.runners.runner import Runner

__all__ = ["AsyncToSync", "async_to_sync", "call_async"]

P = ParamSpec("P")
T = TypeVar("T")


_UNBOUND = object()


class AsyncToSync(Generic[P, T]):
    """A sync function around an async one, from `async_to_sync()`.

    Lives as long as somebody holds it. Call it from any thread that is not running an event loop.
    """

    def __init__(self, awaitable: Callable[P, Awaitable[T]], force_new_loop: bool = False) -> None:
        if not _is_async(awaitable):
            # Only a warning, because some async functions cannot be recognized.
            warnings.warn("async_to_sync was passed a non-async-marked callable", stacklevel=3)
        self.awaitable = awaitable
        self.force_new_loop = force_new_loop
        bound_to: object = getattr(awaitable, "__self__", _UNBOUND)
        if bound_to is not _UNBOUND:
            self.__self__ = bound_to

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return what it returns or raise what it raises.

        Raises:
            RunningLoopError: This thread is running an event loop.
        """
        return call_async(self.awaitable, args, kwargs, force_new_loop=self.force_new_loop)

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., T]:
        return functools.update_wrapper(functools.partial(self.__call__, instance), self.awaitable)


@overload
def async_to_sync(
    awaitable: Callable[P, Awaitable[T]], *, force_new_loop: bool = False
) -> AsyncToSync[P, T]: ...


@overload
def async_to_sync(
    awaitable: None = None, *, force_new_loop: bool = False
) -> Callable[[Callable[P, Awaitable[T]]], AsyncToSync[P, T]]: ...


def async_to_sync(
    awaitable: Callable[P, Awaitable[T]] | None = None, *, force_new_loop: bool = False
) -> AsyncToSync[P, T] | Callable[[Callable[P, Awaitable[T]]], AsyncToSync[P, T]]:
    """Turn an async function into a sync function. A replacement for asgiref's `async_to_sync`.

    You can also use it as a decorator. A call blocks and returns the function's result, as
    `AsyncioLoopManager.run()` does. It uses the loop of the current request, or else the thread's
    own. That loop is made at the first call and lives as long as the thread, so connections and
    background tasks stay usable. Sync code that asgiref's `sync_to_async` has called uses the loop
    of the coroutine that called it. Functions in `sync_to_async` inside the call run on the calling
    thread. Context variables are copied in both directions.

    Args:
        awaitable: An async function or method, a `partial` of one, an object with an async
            `__call__`, or anything else that returns an awaitable.
        force_new_loop: Each call creates its own loop and closes it afterwards.

    Returns:
        The sync function. Call it from any thread that is not running an event loop.
    """
    if awaitable is None:
        again: Any = async_to_sync  # a warning then has the same frames above it
        return functools.partial(again, force_new_loop=force_new_loop)
    return AsyncToSync(awaitable, force_new_loop)


def call_async(
    function: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    force_new_loop: bool = False,
) -> T:
    """Call an async function in sync code, as `async_to_sync` does. From any thread.

    Raises:
        RuntimeError: This thread runs an event loop, or the manager is being stopped.
        BaseException: What the function raised.
    """
    refuse_in_event_loop("await the async function itself")
    call = functools.partial(function, *args, **kwargs)
    if force_new_loop:
        return _call_on_new_loop(call)
    bridge.look()
    plugin = bridge.active
    loop = None if plugin is None else plugin.calling_loop()
    if plugin is not None and loop is not None:
        runner = runner_of(loop)
        if runner is None and loop.is_running():
            return plugin.call(call)  # other code's loop, for example an ASGI server's
        if runner is not None and not (runner.live.closing or runner.live.inherited):
            return _call_on(runner, call)
    runner = lifecycle_of(current_manager()).runner
    if runner is None:  # pragma: no cover - stopped by another thread just now
        raise ManagerStateError("This thread's manager was stopped. Make the call again.")
    return _call_on(runner, call)


def _call_on_new_loop(call: Callable[[], Awaitable[T]]) -> T:
    with AsyncioLoopManager(object()) as manager:
        runner = lifecycle_of(manager).runner
        assert runner is not None, "it was started a line above"  # noqa: S101
        return _call_on(runner, call)


def _call_on(runner: Runner, call: Callable[[], Awaitable[T]]) -> T:
    with contextlib.nullcontext() if bridge.active is None else bridge.active.calling():
        awaitable = call()
        coro = _coroutine(awaitable)
        try:
            return run(runner, coro)
        except Closing:  # pragma: no cover - its stop began just now
            raise runner.live.stopped_error(None) from None
        finally:
            close_unstarted(coro)
            if coro is not awaitable:
                close_unstarted(awaitable)  # the call was refused
            del awaitable, coro


def _coroutine(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    """The coroutine to run: the awaitable itself, if it needs no coroutine around it."""
    error = sys.exc_info()[1]
    if error is None and asyncio.iscoroutine(awaitable):
        return awaitable
    return name_after(awaitable, _carry(awaitable, error))


async def _carry(awaitable: Awaitable[T], error: BaseException | None) -> T:
    """Await it as asgiref does: while it handles the exception that its caller handles, if any."""
    if error is None:
        return await awaitable
    traceback, context = error.__traceback__, error.__context__
    try:
        raise error
    except BaseException:
        error.__traceback__, error.__context__ = traceback, context
        return await awaitable
    finally:
        del error, context


def _is_async(value: object) -> bool:
    if type(value) is FunctionType and value.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # nearly always; the checks below take ten times as long
    return _marked(value) or _marked(getattr(value, "__call__", value))  # noqa: B004


def _marked(value: object) -> bool:
    # Up to Python 3.11, asgiref sets a mark that inspect does not know.
    return inspect.iscoroutinefunction(value) or hasattr(value, "_is_coroutine")
