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
    @stream(mimetype="text/event-stream")
    async def ticks():
        while True:
            yield server_sent_event(await next_tick())

You do not need asgiref. Outside a request, for example in a command, these functions run on the
thread's own loop.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from flask import Flask, current_app, got_request_exception, has_request_context, request
from werkzeug.local import LocalProxy

from wsgi_async.core import OutsideRequestError, async_to_sync
from wsgi_async.core.managers.current import with_grace
from wsgi_async.middleware import AsyncLoopMiddleware, loop_from

from .flask_contexts import keep_contexts, remember_error, serve_keeping_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Response

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.core.actors.stream import SyncIterator

__all__ = ["AsyncLoop", "current_loop", "stream"]

P = ParamSpec("P")
T = TypeVar("T")

_NAME = "wsgi_async"  # in `app.extensions`

_LAST_STEPS = (
    "handle_user_exception",
    "handle_exception",
    "finalize_request",
    "do_teardown_request",
    "do_teardown_appcontext",
)
"""Flask's methods that handle errors or clean up after a request, and call the app's functions."""


class AsyncLoop:
    """The Flask extension. One instance can serve several applications.

    It wraps `app.wsgi_app` in `AsyncLoopMiddleware`, and replaces `app.async_to_sync`, which Flask
    calls for every `async def` function. It also wraps `app.make_response`, so that a view
    without `@stream` raises a helpful error, and the methods that call error handlers, after
    and teardown functions, so that these can run after the request's deadline. Create it before the
    first request, and after middleware of `app.wsgi_app` that calls async code.

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
        AsyncLoopMiddleware(_no_app, **options)  # raises for wrong options at once
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up an application.

        Raises:
            RuntimeError: The application has an AsyncLoop already.
            TypeError: `app` is not a Flask application.
        """
        if not isinstance(cast("object", app), Flask):
            raise TypeError(f"app is {app!r}. Pass the Flask application itself.")
        if _NAME in app.extensions:
            raise RuntimeError(
                f"{app!r} has an AsyncLoop already. Leave one of the two out, AsyncLoop(app) or "
                "init_app(app)."
            )
        app.extensions[_NAME] = self
        app.async_to_sync = async_to_sync  # type: ignore[method-assign, assignment]
        app.make_response = functools.partial(_make_response, app.make_response)  # type: ignore[method-assign]
        for name in _LAST_STEPS:
            setattr(app, name, functools.partial(_call_with_grace, getattr(app, name)))
        got_request_exception.connect(remember_error, app)
        inner = functools.partial(serve_keeping_contexts, app.wsgi_app)
        app.wsgi_app = AsyncLoopMiddleware(inner, **self._options)  # type: ignore[method-assign]


def _no_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NotImplementedError  # pragma: no cover - never called


def _call_with_grace(step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    with with_grace():
        return step(*args, **kwargs)


# -- the request's loop ----------------------------------------------------------------------------


def _find_loop() -> AsyncioLoopManager:
    if not has_request_context():
        raise OutsideRequestError(
            "current_loop was used outside of a request. Use it in what Flask calls for a request; "
            "elsewhere wsgi_async.run() runs a coroutine on the thread's own loop."
        )
    try:
        return loop_from(request.environ)
    except LookupError:
        raise OutsideRequestError(
            "This request has no loop: its application has no AsyncLoop, its response is over, or "
            "it came from test_request_context(). Call AsyncLoop(app) once, and in tests "
            "app.test_client(). In a task that outlives the request, use current_manager()."
        ) from None


current_loop: AsyncioLoopManager = LocalProxy(_find_loop)  # type: ignore[assignment]
"""The `AsyncioLoopManager` of the current request. It is a proxy, like `flask.request`.

It works in the request's own thread and in its coroutines, until the response is closed, also in
teardown functions. Outside a request it raises `RuntimeError`.
"""


# -- streams ---------------------------------------------------------------------------------------


class _Decorator(Protocol):
    """The decorator that `stream(mimetype=...)` returns."""

    def __call__(self, source: Callable[P, AsyncIterable[Any]], /) -> Callable[P, Response]: ...


class _PlainDecorator(Protocol):
    """The decorator that `stream(prefetch=...)` returns."""

    def __call__(
        self, source: Callable[P, AsyncIterable[T]], /
    ) -> Callable[P, SyncIterator[T]]: ...


@overload
def stream(source: AsyncIterable[T], *, prefetch: int = 0) -> SyncIterator[T]: ...


@overload
def stream(source: AsyncIterable[Any], *, prefetch: int = 0, mimetype: str) -> Response: ...


@overload
def stream(
    source: Callable[P, AsyncIterable[T]], *, prefetch: int = 0
) -> Callable[P, SyncIterator[T]]: ...


@overload
def stream(
    source: Callable[P, AsyncIterable[Any]], *, prefetch: int = 0, mimetype: str
) -> Callable[P, Response]: ...


@overload
def stream(*, prefetch: int = 0, mimetype: str) -> _Decorator: ...


@overload
def stream(*, prefetch: int) -> _PlainDecorator: ...


def stream(source: Any = None, *, prefetch: int = 0, mimetype: str | None = None) -> Any:
    """Make a response body from an async generator.

    You can also use it as a decorator, for example on a view: `@stream`, or
    `@stream(mimetype="text/event-stream")`.

    `request`, `session`, `g` and `current_app` work in the generator, which runs in one task.
    Teardown functions run once, after the stream. If the client disconnects, the generator is
    closed and its `finally` blocks run. Call it in a request, in sync or async code.

    Args:
        source: An async generator, another async iterable, or a function that returns one. Leave
            it out to make a decorator with options.
        prefetch: How many items the generator may run ahead of the client.
        mimetype: The content type. If you set it, `stream()` returns a `Response`.

    Returns:
        An iterator, for `Response(...)` or as the return value of a view. With `mimetype`, the
        response. For a function, a function that returns that.

    Raises:
        RuntimeError: No request is running, or the application has no `AsyncLoop`.
        TypeError: `source` is not an async iterable or a function, or `prefetch` is not an
            integer.
        ValueError: `prefetch` is negative.
    """
    if source is None:
        again: Any = stream
        return functools.partial(again, prefetch=prefetch, mimetype=mimetype)
    if hasattr(source, "__aiter__"):
        return _stream(source, prefetch, mimetype)
    if not callable(source):
        raise TypeError(
            f"{source!r} is not an async iterable. Pass an async generator, or the function that "
            "makes it."
        )

    @functools.wraps(source)
    def streamed(*args: Any, **kwargs: Any) -> Any:
        return _stream(source(*args, **kwargs), prefetch, mimetype)

    return streamed


def _stream(iterable: Any, prefetch: int, mimetype: str | None) -> Any:
    manager = _find_loop()
    if _NAME not in current_app.extensions:
        raise RuntimeError(
            f"{current_app.name!r} has no AsyncLoop, so stream() cannot keep its contexts. Call "
            "AsyncLoop(app) once, where the application is made."
        )
    iterator = manager.iterate(iterable, prefetch=prefetch)
    keep_contexts(request.environ)
    if mimetype is None:
        return iterator
    return current_app.response_class(iterator, mimetype=mimetype)


def _make_response(original: Callable[[Any], Response], value: Any) -> Response:
    """As Flask's `make_response()`, but an error about a view without `@stream` names the view."""
    try:
        return original(value)
    except TypeError:
        # A view that also returns a status or headers returns a tuple.
        body = value[0] if issubclass(type(value), tuple) and len(value) else value
        if hasattr(body, "__await__"):
            raise TypeError(
                f"The view function for {request.endpoint!r} returned {body!r}, which nobody has "
                "awaited. Make the view an async def and await it there, or return the result of "
                "current_loop.run()."
            ) from None
        if not hasattr(body, "__aiter__"):
            raise
        raise TypeError(
            f"The view function for {request.endpoint!r} returned {body!r}, which Flask cannot "
            "send. Decorate the function with @stream of wsgi_async.integrations.flask, or return "
            "stream() of the async generator."
        ) from None
