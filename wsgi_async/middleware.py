"""The WSGI middleware: an event loop for every worker thread.

Each worker thread of the server gets an event loop of its own, which lives as long as the thread.
While a request runs, its `AsyncioLoopManager` is in `environ["async.loop"]`; tasks that are
submitted to it keep running between requests, and the loop is closed when the thread ends. For
tasks that must end with the request, use the `RequestScope` in `environ["async.scope"]`. Wrap the
application once, outermost::

    from wsgi_async import AsyncLoopMiddleware, loop_from

    def app(environ, start_response):
        loop = loop_from(environ)
        page = loop.run(fetch(url), timeout=5)    # blocks this thread, not the others
        loop.submit_task(write_audit_log())       # outlives the request
        ...

    app = AsyncLoopMiddleware(app)

With Flask, use `wsgi_async.integrations.flask.AsyncLoop(app)`; with Django,
`wsgi_async.integrations.django.get_wsgi_application()`. In a view, call `loop_from(request)`.

When not to use it:

-   In an async app under an ASGI server: there is an event loop already, so use `await`.
-   Under gevent or eventlet, once they have patched `threading`: a thread is a greenlet there and
    cannot have a loop of its own. The middleware raises an error.

Some servers start a thread for each request: the development servers of Flask and Django, and
Odoo. A loop that ended with its thread would keep nothing open there. With `reuse` a manager whose
thread has ended waits, with its connections and its background tasks, for the next thread. The
middleware turns this on by itself for the development servers that it knows.

What a response body gets:

-   A generator or any other iterable finds the loop while it is iterated, and when it is closed.
    All of it runs in the one context that the application ran in. When the server has closed it,
    the request's scope ends; if a server never closes the body, the scope's tasks keep running.
-   A list or a tuple has nothing left to run. It goes to the server as it is; the scope ends, and
    both are taken out of the environ at once.
-   So does an instance of `environ["wsgi.file_wrapper"]`, as the server must recognize it. The
    server reads and closes it past the middleware, in a context and often on another thread;
    `environ["async.loop"]` stays for the file's `read()` and `close()`, and goes with the environ.
    The scope ends here too, because nothing tells when the file has been sent.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal

from .core.base.log import origin
from .core.jobs import bridge
from .core.managers.current import request_manager
from .routing import set_routes
from .scopes import RequestScope
from .wsgi.adopting import AdoptingContext
from .wsgi.bodies import KEY, SCOPE_KEY, end_request, hand_on, run_answerably
from .wsgi.look_up import loop_from, scope_from
from .wsgi.options import Options
from .wsgi.providing import Provider
from .wsgi.requests import RequestLine

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from .core import AsyncioLoopManager
    from .core.base.settings import Hook, LoopFactory
    from .routing import AnyRoute

__all__ = ["AsyncLoopMiddleware", "loop_from", "scope_from"]


class AsyncLoopMiddleware:
    """A WSGI middleware that gives each worker thread an event loop.

    Several threads can call it at the same time. Each manager belongs to a worker thread and is
    stopped when that thread ends. Middlewares with equal arguments share one manager per thread. If
    two are nested, only the outer one is used.

    On a thread of a `LoopThreadPoolExecutor`, for example under gunicorn's `LoopThreadWorker`, the
    loop lives on the worker thread itself. On any other thread, it lives on a separate background
    thread.

    Args:
        app: The WSGI application to wrap.
        id: The id of the managers, for `get_or_create_loop_manager(id)`.
        task_type: The task type of the managers. They accept only tasks of this type.
        force_create: Each thread gets a manager of its own. If False, the thread uses the nearest
            manager with this `id`: its own, or that of one of the threads that started it. It
            creates one only if there is none. Manager options do not affect an existing manager.
        per: `"thread"`, or `"process"` for one manager that all threads share: for SDKs that keep
            one client per process. It is created at the first request of each process, so it also
            works after a fork. It is stopped when the process exits.
        timeout: The deadline of each request, in seconds from its start: all its waits must end by
            then. None means no deadline. To remove it for one request, call `scope.no_timeout()`.
        reuse: When a thread ends, hand its manager to the next new thread. Use it for servers that
            start a thread for each request. It has no effect on servers with long-lived threads.
            `"auto"` turns it on for the development servers of Werkzeug, Flask, wsgiref and Django.
        adopt: In the sync code of a request `asyncio.get_event_loop()` is the manager's loop, and
            `run_until_complete()` on it is `run()`. Use it for SDKs whose sync functions, such as
            `agent.run_sync()`, would otherwise create their own loop.
        max_idle: With `reuse`, how many managers may wait for a thread. The default is enough
            for two browsers, which open six connections each.
        max_idle_time: With `reuse`, how many seconds an idle manager is kept before it is stopped.
            Its background tasks continue until then.
        loop_factory: Makes the event loops; for example `uvloop.new_event_loop`.
        debug: asyncio's debug mode; None for its default.
        grace: Seconds that a canceled coroutine gets to clean up. See `AsyncioLoopManager`.
        on_start: A function, plain or async, that is called on each loop when it starts.
        on_stop: Likewise when it stops; see `AsyncioLoopManager`.
        routes: The routes for task types, for the whole process. See
            `wsgi_async.routing.set_routes()`.

    Raises:
        TypeError: `app` or `loop_factory` cannot be called, `id` cannot be hashed, or two options
            cannot be combined.
        ValueError: An option has an invalid value.
        RuntimeError: gevent or eventlet has patched `threading`. If that happens later, the request
            raises it. uWSGI runs without Python threads. A request also raises it when the process
            has no file descriptor or no thread left for a new loop; the next request tries again.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        id: Hashable = None,
        task_type: Hashable = None,
        force_create: bool = True,
        per: Literal["thread", "process"] = "thread",
        timeout: float | None = None,
        reuse: bool | Literal["auto"] = "auto",
        adopt: bool = False,
        max_idle: int = 16,
        max_idle_time: float = 60.0,
        loop_factory: LoopFactory | None = None,
        debug: bool | None = None,
        grace: float = 5.0,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
        routes: Mapping[Any, AnyRoute] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(
                f"app is {app!r}, which cannot be called. Pass the WSGI application itself."
            )
        if any(map(inspect.iscoroutinefunction, (app, type(app).__call__))):
            raise TypeError(
                f"app is {app!r}, an ASGI application. Use AsyncLoopMiddleware of wsgi_async.asgi "
                "under an ASGI server, or AsgiMount to serve it under WSGI."
            )
        options = Options(
            id=id,
            task_type=task_type,
            force_create=force_create,
            per=per,
            timeout=timeout,
            reuse=reuse,
            max_idle=max_idle,
            max_idle_time=max_idle_time,
            loop_factory=loop_factory,
            debug=debug,
            grace=grace,
            on_start=on_start,
            on_stop=on_stop,
        )
        self._provider = Provider(options)
        self.app = app
        self._timeout = options.timeout
        self._adopt = adopt
        self._local = _Local()
        if routes is not None:
            set_routes(routes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, with the thread's manager and a new scope in the environ."""
        if KEY in environ:
            return self.app(environ, start_response)  # an outer middleware has run already
        manager = self._local.manager
        # The manager may have been stopped by hand, or belong to the process that forked this one.
        if manager is None or not manager.running:
            manager = self._local.manager = self._provider.first_request(environ)
        bridge.look()  # async views without our integration may only call asgiref, never us
        context = copy_context()
        context.run(request_manager.set, weakref.ref(manager))
        context.run(origin.set, RequestLine(environ))
        environ[KEY] = manager
        environ[SCOPE_KEY] = scope = RequestScope(manager, context, self._timeout)
        runner = AdoptingContext(context, manager) if self._adopt else context
        try:
            body = run_answerably(runner, self.app, environ, start_response)
        except BaseException:
            end_request(environ, scope)
            raise
        return hand_on(body, environ, runner, scope)


class _Local(threading.local):
    """One middleware's manager for each thread. Lives as long as the middleware."""

    manager: AsyncioLoopManager | None = None
