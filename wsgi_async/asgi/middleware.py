"""The ASGI middleware."""

from __future__ import annotations

import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import check_timeout
from wsgi_async.core.base.log import origin
from wsgi_async.core.base.settings import Settings
from wsgi_async.core.managers.current import request_manager
from wsgi_async.routing import set_routes
from wsgi_async.wsgi.bodies import KEY, SCOPE_KEY
from wsgi_async.wsgi.requests import RequestLine

from .running import RunningLoop
from .scopes import AsgiScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, MutableMapping

    from wsgi_async.core.base.settings import Hook
    from wsgi_async.routing import AnyRoute

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Scope = MutableMapping[str, Any]
    ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["AsyncLoopMiddleware"]


class AsyncLoopMiddleware:
    """An ASGI middleware that gives sync code access to the server's running loop.

    Sync endpoints of Starlette, FastAPI and Django run in threads. There they find a manager in the
    request's scope, as `scope["async.loop"]`, and `run()`, `iterate()`, loop resources and the
    request's scope work as they do under WSGI: `loop_from(request)`, `wsgi_async.run(...)`. The
    coroutines run on the server's own loop.

    There is one manager for each loop that calls the application. It ends with the application's
    lifespan, or with the loop if the server does not support lifespan.

    Args:
        app: The ASGI application to wrap.
        id: The id of the manager, for `get_or_create_loop_manager(id)`.
        task_type: The task type that it is started with.
        timeout: Seconds that all waits of a request's sync code have together; None without a
            limit. WebSockets have no limit.
        grace: Seconds; see `AsyncioLoopManager`, as for the next two.
        on_start: Called on the loop, at the start of the lifespan or at the first request.
        on_stop: Called on the loop at the end of the lifespan. It is not called if the server does
            not support lifespan.
        routes: Where the functions with a task type run, in the whole process; see
            `wsgi_async.routing.set_routes()`.

    Raises:
        TypeError: `app` cannot be called, or an option is of the wrong type.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *,
        id: Hashable = None,
        task_type: Hashable = None,
        timeout: float | None = None,
        grace: float = 5.0,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
        routes: Mapping[Any, AnyRoute] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(
                f"app is {app!r}, which cannot be called. Pass the ASGI application itself."
            )
        hash(id)
        hash(task_type)
        Settings(grace=grace, on_start=on_start, on_stop=on_stop)
        self.app = app
        self._timeout = check_timeout(timeout)
        if routes is not None:
            set_routes(routes)
        self._running = RunningLoop(id, task_type, grace=grace, on_start=on_start, on_stop=on_stop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, serve one connection, or go through the lifespan."""
        if KEY in scope:
            await self.app(scope, receive, send)  # an outer middleware has run already
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_start_or_stop(message: Message) -> None:
            # The application's own startup and its own shutdown come first.
            if message["type"] == "lifespan.startup.complete":
                await self._running.manager()
            elif message["type"].startswith("lifespan.shutdown."):
                await self._running.stop()
            await send(message)

        ending = False

        async def receive_and_note() -> Message:
            nonlocal ending
            message = await receive()
            ending = message["type"] == "lifespan.shutdown"
            return message

        try:
            await self.app(scope, receive_and_note, send_and_start_or_stop)
        except Exception:
            if ending:  # the application's shutdown has failed
                await self._running.stop()
            raise
        if ending:
            await self._running.stop()  # it has not said that it is complete

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager = await self._running.manager()
        timeout = self._timeout if scope["type"] == "http" else None
        request = AsgiScope(manager, contextvars.copy_context(), timeout)
        tokens = (
            request_manager.set(weakref.ref(manager)),
            origin.set(_line(scope)),
            request.enter(),
        )

        def send_and_lift(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                request.lift()  # what the app does after its response has no deadline
            return send(message)

        try:
            await self.app({**scope, KEY: manager, SCOPE_KEY: request}, receive, send_and_lift)
        finally:
            for token in reversed(tokens):
                token.var.reset(token)  # type: ignore[arg-type]
            await request.end_on_loop()


def _line(scope: Scope) -> RequestLine:
    """How the log names a request: by its method, or its type if it has none, and its path."""
    path = scope.get("path", "").encode("utf-8", "surrogateescape").decode("latin-1")
    return RequestLine({"REQUEST_METHOD": scope.get("method", scope["type"]), "PATH_INFO": path})
