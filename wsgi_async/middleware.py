"""The WSGI middleware: an event loop for every worker thread.

Each worker thread of the server gets a loop of its own, which lives as long as the thread. While
a request runs, the loop's `AsyncioLoopManager` is in `environ["async.loop"]`; work that was
submitted to it goes on between the requests, and the loop is closed when the thread ends. What must
end with the request is for the `RequestScope` in `environ["async.scope"]`. Wrap the application
once, outermost::

    from wsgi_async import AsyncLoopMiddleware, loop_from

    def app(environ, start_response):
        loop = loop_from(environ)
        page = loop.run(fetch(url), timeout=5)    # blocks this thread, not the others
        loop.submit_task(write_audit_log())       # outlives the request
        ...

    app = AsyncLoopMiddleware(app)

With Flask this is `app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)`, with Django
`application = AsyncLoopMiddleware(get_wsgi_application())`; in a view of either it is
`loop_from(request.environ)`.

When not to use it:

-   Under an ASGI server: there is a loop already, await on it.
-   Under gevent or eventlet, once they have patched `threading`: a thread is a greenlet there and
    cannot have a loop of its own. The middleware refuses to work.

On a server that starts a thread for each request (Werkzeug's and Django's development servers,
Odoo) a loop that ends with its thread keeps nothing open. There are two ways out:

-   `reuse=True`: a manager whose thread has ended waits, with its connections and its background
    work, for the next thread. Never do two threads have it at once, so there are as many loops
    as there are requests at the same time.
-   `force_create=False`, and one manager made in the main thread: all threads below share it.
    There is one loop, which its keeper drives, so each call hops to that thread and back.

What a response body gets:

-   A generator or any other iterable finds the loop while it is iterated, and when it is closed.
    All of it runs in the one context that the application ran in. When the server has closed it,
    the request's scope ends; a server that never does leaves the scope's tasks to themselves.
-   A list or a tuple has nothing left to run. It goes to the server as it is; the scope ends, and
    both are taken out of the environ at once.
-   So does an instance of `environ["wsgi.file_wrapper"]`, as the server must recognise it. The
    server reads and closes it past the middleware, in a context and often on a thread of its own;
    `environ["async.loop"]` stays for the file's `read()` and `close()`, and goes with the environ.
    The scope ends here too, as nobody tells of the file's end: what a file's `read()` waits for
    belongs to the manager, or into a generator.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from .bodies import KEY, SCOPE_KEY, end_request, hand_on
from .core import AsyncioLoopManager, get_or_create_loop_manager
from .core.own import start_once, use
from .core.reuse import ManagerPool
from .core.settings import Settings
from .limits import (
    refuse_greenlets,
    refuse_uwsgi_without_threads,
    warn_of_subinterpreter,
    what_ran_out,
)
from .scopes import RequestScope

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from .core.settings import Drive, LoopFactory

__all__ = ["AsyncLoopMiddleware", "loop_from", "scope_from"]


def loop_from(environ: Mapping[str, Any]) -> AsyncioLoopManager:
    """The loop manager of the request that this environ belongs to.

    Args:
        environ: The WSGI environ; `request.environ` in Flask, Django, Pyramid and others.

    Returns:
        What is in `environ["async.loop"]`: the manager of the worker thread that runs the request.

    Raises:
        LookupError: The application is not wrapped, or the response has been closed already.
    """
    return _look_up(environ, KEY)  # type: ignore[no-any-return]


def scope_from(environ: Mapping[str, Any]) -> RequestScope:
    """The scope of the request that this environ belongs to.

    Args:
        environ: The WSGI environ; `request.environ` in Flask, Django, Pyramid and others.

    Returns:
        What is in `environ["async.scope"]`.

    Raises:
        LookupError: The application is not wrapped, or the response has been closed already.
    """
    return _look_up(environ, SCOPE_KEY)  # type: ignore[no-any-return]


def _look_up(environ: Mapping[str, Any], key: str) -> Any:
    try:
        return environ[key]
    except KeyError:
        raise LookupError(
            f"This environ has no {key!r}: the application is not wrapped, or the response is "
            "over. Wrap it where it is handed to the server, `app = AsyncLoopMiddleware(app)` "
            "(Flask: `app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)`), and take it out of the "
            "environ while the request runs."
        ) from None


class AsyncLoopMiddleware:
    """A WSGI application around another; gives each of its worker threads an event loop.

    Lives as long as the application, and may be called from any number of threads at once. The
    managers that it makes belong to the worker threads, and are stopped when those end.
    Middlewares with equal arguments share one manager in each thread; of two that are nested, the
    outer one acts and the inner one passes everything through.

    Args:
        app: The WSGI application to wrap.
        id: The id of the managers, for `get_or_create_loop_manager(id)`.
        task_type: The task type that they are started with; they take no others.
        force_create: Each thread gets a manager of its own. With False, the nearest one of this
            `id` up the thread's lineage is shared, and only where there is none, one is made; the
            arguments below have no effect on a manager that was there.
        reuse: The manager of a thread that has ended goes on, and is the next new thread's. For
            servers that start a thread for each request; where threads live long it changes
            nothing. Before another loop is made, a new thread waits for one that is just ending, or
            sends its response, 50 ms at most.
        max_idle: With `reuse`, how many managers may wait for a thread. The default is enough
            for two browsers, which open six connections each.
        max_idle_time: Seconds that one may wait, with `reuse`, before it is stopped. Its
            background work goes on until then.
        loop_factory: Makes the event loops; `uvloop.new_event_loop`, for instance.
        drive: Who drives the loop, `"auto"`, `"keeper"` or `"caller"`; see `AsyncioLoopManager`.
        debug: asyncio's debug mode; None for its default.
        linger: Seconds; see `AsyncioLoopManager`.
        grace: Seconds; see `AsyncioLoopManager`.
        max_pause: Seconds; see `AsyncioLoopManager`.

    Raises:
        TypeError: `app` or `loop_factory` cannot be called, `id` cannot be hashed, or `reuse`
            comes with `force_create=False`.
        ValueError: `drive` is none of the three, or a number is out of range.
        RuntimeError: gevent or eventlet has patched `threading`. If that happens later, the
            request raises it. uWSGI runs without Python threads. A request also raises it when
            the process has no file descriptor or no thread left for a new loop; the next one
            tries again.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        id: Hashable = None,
        task_type: Hashable = None,
        force_create: bool = True,
        reuse: bool = False,
        max_idle: int = 16,
        max_idle_time: float = 60.0,
        loop_factory: LoopFactory | None = None,
        drive: Drive = "auto",
        debug: bool | None = None,
        linger: float = 0.005,
        grace: float = 5.0,
        max_pause: float = 1.0,
    ) -> None:
        if not callable(app):
            raise TypeError(
                f"app is {app!r}, which cannot be called. Pass the WSGI application itself."
            )
        _check_hashable("id", id)
        _check_hashable("task_type", task_type)
        settings = Settings(
            loop_factory=loop_factory,
            drive=drive,
            debug=debug,
            linger=linger,
            grace=grace,
            max_pause=max_pause,
        )
        if reuse and not force_create:
            raise TypeError(
                "reuse and force_create=False exclude each other. Set one of them: the first gives "
                "each thread a manager that it has for itself, the second lets threads share one."
            )
        pool = ManagerPool(max_idle=max_idle, max_idle_time=max_idle_time)
        refuse_greenlets()
        refuse_uwsgi_without_threads()
        self.app = app
        self._pool = pool if reuse else None
        self._task_type = task_type
        self._get_manager = partial(
            get_or_create_loop_manager,
            id,
            force_create,
            loop_factory=loop_factory,
            drive=drive,
            debug=debug,
            linger=linger,
            grace=grace,
            max_pause=max_pause,
        )
        # With equal ones, a thread's other middlewares share its manager.
        kept = (max_idle, max_idle_time) if reuse else None
        self._settings = (id, task_type, settings, kept) if force_create else None
        self._local = _Local()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, with the thread's manager and a new scope in the environ."""
        if KEY in environ:
            return self.app(environ, start_response)  # an outer middleware acts
        manager = self._local.manager
        # It may have been stopped by hand, or be the one of the process we were forked from.
        if manager is None or not manager.running:
            manager = self._local.manager = self._first_request(environ)
        context = copy_context()
        runner = use(manager, context)
        environ[KEY] = manager
        environ[SCOPE_KEY] = scope = RequestScope(manager, context)
        try:
            body = runner.run(self.app, environ, start_response)
        except BaseException:
            end_request(environ, scope)
            raise
        return hand_on(body, environ, runner, scope)

    def _first_request(self, environ: WSGIEnvironment) -> AsyncioLoopManager:
        """This thread's manager, running; made unless there is one that may be shared."""
        refuse_greenlets()
        warn_of_subinterpreter(environ)
        try:
            if self._settings is None:
                return start_once(self._get_manager(), self._task_type)
            return _made.find(self._settings) or _made.keep(self._settings, self._make())
        except (OSError, RuntimeError) as error:
            reason = what_ran_out(error)
            if reason is None:
                raise
            # Not an OSError: servers take one for a broken connection, and send no answer.
            raise RuntimeError(
                f"This worker thread gets no event loop: {reason} The next request tries again."
            ) from error

    def _make(self) -> AsyncioLoopManager:
        """A manager of the thread's own, running; one that cannot start is not left registered."""
        waiting = None if self._pool is None else self._pool.take()
        if waiting is not None:
            return waiting
        manager = self._get_manager()
        try:
            start_once(manager, self._task_type)
        except BaseException:
            manager.stop()
            raise
        if self._pool is not None:
            self._pool.keep(manager)
        return manager


class _Local(threading.local):
    """One middleware's manager for each thread. Lives as long as the middleware."""

    manager: AsyncioLoopManager | None = None


class _Made(threading.local):
    """The managers that the middlewares made, thread by thread. Lives as long as the process.

    It lets middlewares with equal arguments share them: an application factory that a test suite
    calls a thousand times does not leave a thousand loops behind in the main thread.
    """

    def __init__(self) -> None:
        self._managers: list[tuple[object, AsyncioLoopManager]] = []

    def find(self, settings: object) -> AsyncioLoopManager | None:
        """The current thread's running manager for these settings."""
        self._managers = [made for made in self._managers if made[1].running]
        return next((manager for known, manager in self._managers if known == settings), None)

    def keep(self, settings: object, manager: AsyncioLoopManager) -> AsyncioLoopManager:
        """Let `find()` find it."""
        self._managers.append((settings, manager))
        return manager


_made = _Made()


def _check_hashable(name: str, value: object) -> None:
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{name} is {value!r}, which cannot be hashed. Use a string, or anything that can."
        ) from None
