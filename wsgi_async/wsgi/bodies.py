"""Response bodies on their way to the server, and the end of the request when they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from wsgi_async.core.base.deadlines import bounded, request_deadline
from wsgi_async.core.messages.advice import kind_of
from wsgi_async.core.messages.errors import TaskCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sized
    from contextvars import Context
    from wsgiref.types import WSGIEnvironment

    from wsgi_async.scopes import RequestScope

    from .adopting import AdoptingContext

__all__ = ["KEY", "SCOPE_KEY", "end_request", "hand_on", "run_answerably"]

P = ParamSpec("P")
T = TypeVar("T")

KEY = "async.loop"
"""The key of the manager in the environ while the request runs."""
SCOPE_KEY = "async.scope"
"""The key of the request's scope."""

_PLAIN_ITERS = (vars(list)["__iter__"], vars(tuple)["__iter__"])


class _Body:
    """A response body on its way to the server. Lives until the server drops it.

    werkzeug's ClosingIterator is not enough. The body's code has to run in the request's context,
    the loop has to leave the environ even if the inner `close()` raises, and a second `close()`
    must not reach the inner body.
    """

    __slots__ = ("_body", "_closed", "_context", "_environ", "_next", "_scope")

    def __init__(
        self,
        body: Iterable[bytes],
        environ: WSGIEnvironment,
        context: Context | AdoptingContext,
        scope: RequestScope,
    ) -> None:
        self._body = body
        self._environ = environ
        self._context = context
        self._scope = scope
        self._next: Callable[[], bytes] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        self._iterate()
        return self

    def __next__(self) -> bytes:
        return run_answerably(self._context, self._next or self._iterate())

    def _iterate(self) -> Callable[[], bytes]:
        # Not in the middleware's call: if the body's __iter__ raises, the server must already
        # have a body to close.
        if self._next is None:
            self._next = run_answerably(self._context, _iterator_of, self._body).__next__
        return self._next

    def close(self) -> None:
        """Close the inner body if it can be closed, and end the request. Later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                # A generator's `finally` may run coroutines, even after the deadline, and may wait
                # for the scope's tasks.
                self._scope.lift()
                run_answerably(self._context, _unbound, close)
        finally:
            end_request(self._environ, self._scope)


class _SizedBody(_Body):
    """A body that knows its length; servers set Content-Length if the length is 1."""

    __slots__ = ()

    def __len__(self) -> int:
        return self._context.run(len, cast("Sized", self._body))


def run_answerably(
    context: Context | AdoptingContext, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a part of the request. Some servers end their thread if it raises a non-Exception."""
    try:
        return context.run(fn, *args, **kwargs)
    except asyncio.CancelledError as error:
        if isinstance(error, Exception):
            raise
        raise TaskCancelledError(*error.args) from error


def _unbound(close: Callable[[], object]) -> None:
    # If the scope has set no deadline, its request has that of the request around it, if any.
    if bounded(None) is not None:
        request_deadline.set(None)
    close()


def _iterator_of(body: Iterable[bytes]) -> Iterator[bytes]:
    try:
        return iter(body)
    except TypeError:
        if hasattr(body, "__aiter__"):
            instead = "loop.iterate(...) of it"
        elif hasattr(body, "__await__"):
            instead = "the result of loop.run(...)"
        else:
            raise
    raise TypeError(
        f"{kind_of(body)} was returned as a response body, which no server can send. Return "
        f"{instead}."
    )


def end_request(environ: WSGIEnvironment, scope: RequestScope) -> None:
    """End the request's scope, and remove the middleware's keys from the environ."""
    try:
        scope.end()
    finally:
        environ.pop(KEY, None)
        environ.pop(SCOPE_KEY, None)


def hand_on(
    body: Iterable[bytes],
    environ: WSGIEnvironment,
    context: Context | AdoptingContext,
    scope: RequestScope,
) -> Iterable[bytes]:
    """Wrap the body for the server, or end the request and return the body as it is."""
    kind = type(body)
    # A list or a tuple, or an instance of a subclass that runs no code of its own.
    if getattr(kind, "__iter__", None) in _PLAIN_ITERS and not hasattr(body, "close"):
        end_request(environ, scope)
        return body
    if _is_file(body, environ.get("wsgi.file_wrapper")):
        # The server does not tell when it has sent the file.
        scope.end()
        environ.pop(SCOPE_KEY, None)
        return body
    return (_SizedBody if hasattr(kind, "__len__") else _Body)(body, environ, context, scope)


def _is_file(body: object, wrapper: object) -> bool:
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    # uWSGI's wrapper is a function. It returns the file itself, and must get the same object.
    return wrapper is not None and hasattr(body, "read")
