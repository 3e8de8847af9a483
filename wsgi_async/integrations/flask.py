"""Flask: `async def` views and hooks on the worker thread's own loop, and streamed responses.

One line, after which every `async def` that Flask calls (views, error handlers, before, after and
teardown functions, signal receivers, class-based views) runs on the loop of its worker thread::

    from flask import Flask
    from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

    app = Flask(__name__)
    AsyncLoop(app)

    @app.get("/")
    async def index():
        current_loop.submit_task(write_audit_log())    # outlives the request
        return await fetch(url)

    @app.get("/ticks")
    @stream
    async def ticks():
        while True:
            yield await next_tick()

asgiref need not be installed. Outside of requests (commands, `app.app_context()`) they run on the
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
    """The Flask extension. Lives as long as its applications, of which it may have many.

    Wraps `app.wsgi_app` in `AsyncLoopMiddleware` and replaces `app.async_to_sync`, by which Flask
    calls whatever is `async def`. Make it in the thread that puts the application together, after
    other middlewares that are to run inside, and before the first request.

    Args:
        app: The application; None to call `init_app()` later, in an application factory.
        **options: For `AsyncLoopMiddleware`.

    Raises:
        TypeError, ValueError: An option that the middleware does not take.
        RuntimeError: `app` has one already, or gevent or eventlet has patched `threading`.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self._options = options
        AsyncLoopMiddleware(_no_app, **options)  # a mistake is told where it was made
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Have an application's async code run on the loops of its worker threads.

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
"""The `AsyncioLoopManager` of the present request, as `flask.request` is its request.

From the request's own thread, and from its coroutines. RuntimeError where there is no request. It
is there until the response has been closed, in teardown functions too.
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
    """Make a response body of an async generator, which keeps the request's contexts.

    `request`, `session`, `g` and `current_app` are there in all of the generator, and teardown
    functions run when the stream is over, once. If the client goes away the generator
    is closed: its `finally` blocks run. A decorator too, also of a view itself. Call it in the
    request, in sync or async code; all of the generator runs on the worker's loop, in one task.

    Args:
        source: An async generator, anything else that `async for` takes, or a function that
            returns one.
        prefetch: How many items it may run ahead of the client.

    Returns:
        An iterator, for `Response(...)` or for a view to return; of a function, one that returns
        such iterators.

    Raises:
        RuntimeError: There is no request, or its application has no AsyncLoop.
        TypeError: `source` is neither an async iterable nor a function, or `prefetch` no integer.
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
