"""Flask: `async def` views and hooks on a loop that stays open, and streamed responses.

With one line, every `async def` function that Flask calls runs on the loop of its worker thread:
views, class-based views, error handlers, before, after and teardown functions, signal receivers::

    from flask import Flask
    from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

    app = Flask(__name__)
    AsyncLoop(app, timeout=30)

    @app.get("/")
    async def index():
        current_loop.submit_task(write_audit_log())    # keeps running after the response is sent
        return await fetch(url)

    @app.get("/ticks")
    @stream
    async def ticks():
        while True:
            yield await next_tick()

You do not need asgiref. Outside a request, for example in a command, these functions run on the
thread's own loop.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from flask import Flask, current_app, got_request_exception, has_request_context, request
from werkzeug.local import LocalProxy

from wsgi_async.core import async_to_sync
from wsgi_async.middleware import AsyncLoopMiddleware, loop_from

from .flask_contexts import KeptContexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.core.actors.stream import SyncIterator

__all__ = ["AsyncLoop", "current_loop", "stream"]

P = ParamSpec("P")
T = TypeVar("T")

_NAME = "wsgi_async"  # in `app.extensions`


class AsyncLoop:
    """The Flask extension. Lives as long as its applications; it can serve many.

    It wraps `app.wsgi_app` in `AsyncLoopMiddleware`, and replaces `app.async_to_sync`, which Flask
    calls for every `async def` function. Create it before the first request, and before you add
    middleware that should wrap it.

    Args:
        app: The application. Leave it out and call `init_app()` in an application factory.
        **options: Options of `AsyncLoopMiddleware`.

    Raises:
        TypeError, ValueError: The middleware does not accept an option.
        RuntimeError: `app` has an `AsyncLoop` already, or gevent or eventlet has patched
            `threading`.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self._options = options
        AsyncLoopMiddleware(_no_app, **options)  # a mistake is told where it was made
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up an application.

        Raises:
            RuntimeError: The application has an AsyncLoop already.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                f"{app!r} has an AsyncLoop already. Leave one of the two out, AsyncLoop(app) or "
                "init_app(app)."
            )
        app.extensions[_NAME] = self
        app.async_to_sync = async_to_sync  # type: ignore[method-assign, assignment]
        got_request_exception.connect(_remember, app)
        inner = functools.partial(_serve, app.wsgi_app)
        app.wsgi_app = AsyncLoopMiddleware(inner, **self._options)  # type: ignore[method-assign]


def _no_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NotImplementedError


# -- the request's loop ----------------------------------------------------------------------------


def _find_loop() -> AsyncioLoopManager:
    if not has_request_context():
        raise RuntimeError(
            "current_loop was used outside of a request. Use it in what Flask calls for a request; "
            "elsewhere async_to_sync() runs a coroutine on the thread's own loop."
        )
    try:
        return loop_from(request.environ)
    except LookupError:
        raise RuntimeError(
            "This request has no loop: its application has no AsyncLoop, its response is over, or "
            "it came from test_request_context(). Call AsyncLoop(app) once, and in tests "
            "app.test_client()."
        ) from None


current_loop: AsyncioLoopManager = LocalProxy(_find_loop)  # type: ignore[assignment]
"""The `AsyncioLoopManager` of the current request, as `flask.request` is the current request.

It works in the request's own thread and in its coroutines, until the response is closed, also in
teardown functions. Outside a request it raises `RuntimeError`.
"""


# -- streams ---------------------------------------------------------------------------------------

_kept: ContextVar[KeptContexts | None] = ContextVar("wsgi_async_flask_contexts", default=None)
"""What may become of the contexts of the request that Flask is answering."""


@overload
def stream(source: AsyncIterable[T], *, prefetch: int = 0) -> SyncIterator[T]: ...


@overload
def stream(
    source: Callable[P, AsyncIterable[T]], *, prefetch: int = 0
) -> Callable[P, SyncIterator[T]]: ...


def stream(
    source: AsyncIterable[T] | Callable[P, AsyncIterable[T]], *, prefetch: int = 0
) -> SyncIterator[T] | Callable[P, SyncIterator[T]]:
    """Make a response body from an async generator. Also a decorator, for example of a view.

    `request`, `session`, `g` and `current_app` work in the generator, which runs in one task.
    Teardown functions run once, after the stream. If the client disconnects, the generator is
    closed and its `finally` blocks run. Call it in a request, in sync or async code.

    Args:
        source: An async generator, another async iterable, or a function that returns one.
        prefetch: How many items the generator may run ahead of the client.

    Returns:
        An iterator, for `Response(...)` or as the return value of a view. For a function, a
        function that returns such iterators.

    Raises:
        RuntimeError: No request is running, or the application has no `AsyncLoop`.
        TypeError: `source` is not an async iterable or a function, or `prefetch` is not an
            integer.
        ValueError: `prefetch` is negative.
    """
    if hasattr(source, "__aiter__"):
        return _stream(cast("AsyncIterable[T]", source), prefetch)
    if not callable(source):
        raise TypeError(
            f"{source!r} is not an async iterable. Pass an async generator, or the function that "
            "makes it."
        )

    @functools.wraps(source)
    def streamed(*args: P.args, **kwargs: P.kwargs) -> SyncIterator[T]:
        return _stream(source(*args, **kwargs), prefetch)

    return streamed


def _stream(iterable: AsyncIterable[T], prefetch: int) -> SyncIterator[T]:
    manager = _find_loop()
    if _NAME not in current_app.extensions:
        raise RuntimeError(
            f"{current_app.name!r} has no AsyncLoop, so stream() cannot keep its contexts. Call "
            "AsyncLoop(app) once, where the application is made."
        )
    iterator = manager.iterate(iterable, prefetch=prefetch)
    kept = _kept.get()
    if kept is not None:  # None in a body that is being iterated: kept or gone already
        kept.keep(request.environ)
    return iterator


def _serve(
    wsgi_app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """The layer between the middleware and Flask, for the contexts of streamed responses."""
    kept = KeptContexts(environ)
    token = _kept.set(kept)
    try:
        body = wsgi_app(environ, start_response)
    except BaseException as error:
        kept.end(error)
        raise
    finally:
        _kept.reset(token)
    return kept.hand_on(body)


def _remember(_: Flask, *, exception: BaseException, **__: Any) -> None:
    """Flask tells its teardown functions of it, so we do."""
    kept = _kept.get()
    if kept is not None:
        kept.error = exception
