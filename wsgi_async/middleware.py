"""The WSGI middleware: an event loop for every worker thread.

Each worker thread of the server gets a loop of its own, which lives as long as the thread. While
a request runs, the loop's `AsyncioLoopManager` is in `environ["async.loop"]`; work that was
submitted to it goes on between the requests, and the loop is closed when the thread ends. Wrap the
application once, outermost::

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
-   On a server that starts a thread for each request (Werkzeug's development server) it works,
    but a new loop for each request keeps nothing open. Make one manager in the main thread and
    pass `force_create=False`, so that all threads below share it.

What a response body gets:

-   A generator or any other iterable finds the loop while it is iterated, and when it is closed.
    All of it runs in the one context that the application ran in.
-   A list or a tuple has nothing left to run. It goes to the server as it is, and the loop is
    taken out of the environ at once.
-   So does an instance of `environ["wsgi.file_wrapper"]`, as the server must recognise it. The
    server reads and closes it past the middleware, in a context and often on a thread of its own;
    `environ["async.loop"]` stays for the file's `read()` and `close()`, and goes with the environ.
"""

from __future__ import annotations

import errno
import sys
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from .core import AsyncioLoopManager, get_or_create_loop_manager
from .core.settings import Settings

try:
    # Here, not where it is used: a process without file descriptors cannot import it any more.
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sized
    from contextvars import Context
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from .core.settings import Drive, LoopFactory

__all__ = ["AsyncLoopMiddleware", "loop_from"]

_KEY = "async.loop"
_PLAIN_ITERS = (vars(list)["__iter__"], vars(tuple)["__iter__"])


def loop_from(environ: Mapping[str, Any]) -> AsyncioLoopManager:
    """The loop manager of the request that this environ belongs to.

    Args:
        environ: The WSGI environ; `request.environ` in Flask, Django, Pyramid and others.

    Returns:
        What is in `environ["async.loop"]`: the manager of the worker thread that runs the request.

    Raises:
        LookupError: The application is not wrapped, or the response has been closed already.
    """
    try:
        return environ[_KEY]  # type: ignore[no-any-return]
    except KeyError:
        raise LookupError(
            f"This environ has no {_KEY!r}: the application is not wrapped, or the response is "
            "over. Wrap it where it is handed to the server, `app = AsyncLoopMiddleware(app)` "
            "(Flask: `app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)`), and take the loop out "
            "of the environ while the request runs."
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
        loop_factory: Makes the event loops; `uvloop.new_event_loop`, for instance.
        drive: Who drives the loop, `"auto"`, `"keeper"` or `"caller"`; see `AsyncioLoopManager`.
        debug: asyncio's debug mode; None for its default.
        linger: Seconds; see `AsyncioLoopManager`.
        grace: Seconds; see `AsyncioLoopManager`.

    Raises:
        TypeError: `app` or `loop_factory` cannot be called, or `id` cannot be hashed.
        ValueError: `drive` is none of the three, or a number of seconds is negative.
        RuntimeError: gevent or eventlet has patched `threading`. If that happens later, the
            request raises it. A request also raises it when the process has no file descriptor or
            no thread left for a new loop; the next one tries again.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        id: Hashable = None,
        task_type: Hashable = None,
        force_create: bool = True,
        loop_factory: LoopFactory | None = None,
        drive: Drive = "auto",
        debug: bool | None = None,
        linger: float = 0.005,
        grace: float = 5.0,
    ) -> None:
        if not callable(app):
            raise TypeError(
                f"app is {app!r}, which cannot be called. Pass the WSGI application itself."
            )
        _check_hashable("id", id)
        _check_hashable("task_type", task_type)
        settings = Settings(
            loop_factory=loop_factory, drive=drive, debug=debug, linger=linger, grace=grace
        )
        _refuse_greenlets()
        self.app = app
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
        )
        # With equal ones, a thread's other middlewares share its manager.
        self._settings = (id, task_type, settings) if force_create else None
        self._local = _Local()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, with the thread's manager in the environ."""
        if _KEY in environ:
            return self.app(environ, start_response)  # an outer middleware acts
        manager = self._local.manager
        # It may have been stopped by hand, or be the one of the process we were forked from.
        if manager is None or not manager.running:
            manager = self._local.manager = self._first_request()
        environ[_KEY] = manager
        context = copy_context()
        try:
            body = context.run(self.app, environ, start_response)
        except BaseException:
            environ.pop(_KEY, None)
            raise
        return _hand_on(body, environ, context)

    def _first_request(self) -> AsyncioLoopManager:
        """This thread's manager, running; made unless there is one that may be shared."""
        _refuse_greenlets()
        try:
            if self._settings is None:
                return _start(self._get_manager(), self._task_type)
            return _made.find(self._settings) or _made.keep(self._settings, self._make())
        except (OSError, RuntimeError) as error:
            reason = _what_ran_out(error)
            if reason is None:
                raise
            # Not an OSError: servers take one for a broken connection, and send no answer.
            raise RuntimeError(
                f"This worker thread gets no event loop: {reason} The next request tries again."
            ) from error

    def _make(self) -> AsyncioLoopManager:
        """A manager of the thread's own, running; one that cannot start is not left registered."""
        manager = self._get_manager()
        try:
            return _start(manager, self._task_type)
        except BaseException:
            manager.stop()
            raise


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


class _Body:
    """A response body on its way to the server. Lives until the server lets go of it.

    Not werkzeug's ClosingIterator: whatever the body runs has to run in the request's context, the
    loop has to leave the environ also when the inner `close()` raises, and a second `close()` must
    not reach the inner one.
    """

    __slots__ = ("_body", "_closed", "_context", "_environ", "_next")

    def __init__(self, body: Iterable[bytes], environ: WSGIEnvironment, context: Context) -> None:
        self._body = body
        self._environ = environ
        self._context = context
        self._next: Callable[[], bytes] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        self._iterate()
        return self

    def __next__(self) -> bytes:
        return self._context.run(self._next or self._iterate())

    def _iterate(self) -> Callable[[], bytes]:
        # Not in the middleware's call: what the body's __iter__ raises reaches the server when
        # that has a body to close.
        if self._next is None:
            self._next = self._context.run(iter, self._body).__next__
        return self._next

    def close(self) -> None:
        """Close the inner body if it can be closed, the first time only."""
        close = None if self._closed else getattr(self._body, "close", None)
        self._closed = True
        try:
            if close is not None:
                self._context.run(close)
        finally:
            self._environ.pop(_KEY, None)


class _SizedBody(_Body):
    """A body that knows its length; servers set Content-Length if that is 1."""

    __slots__ = ()

    def __len__(self) -> int:
        return self._context.run(len, cast("Sized", self._body))


def _hand_on(body: Iterable[bytes], environ: WSGIEnvironment, context: Context) -> Iterable[bytes]:
    """The body as the server gets it."""
    kind = type(body)
    # A list or a tuple, or of a subclass that runs no code of its own.
    if getattr(kind, "__iter__", None) in _PLAIN_ITERS and not hasattr(body, "close"):
        environ.pop(_KEY, None)
        return body
    if _is_file(body, environ.get("wsgi.file_wrapper")):
        return body
    return (_SizedBody if hasattr(kind, "__len__") else _Body)(body, environ, context)


def _is_file(body: object, wrapper: object) -> bool:
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    # uWSGI's is a function, which gives the file itself back and must get the same object.
    return wrapper is not None and hasattr(body, "read")


def _start(manager: AsyncioLoopManager, task_type: Hashable) -> AsyncioLoopManager:
    """Start a manager unless it runs, and return it."""
    if not manager.running:
        manager.lasting = True
        try:
            manager.start(task_type)
        except RuntimeError:
            # A thread that shares it was faster: it has seen the same unstarted manager, and
            # start() lets in one after the other.
            if not manager.running:
                raise
    return manager


def _check_hashable(name: str, value: object) -> None:
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{name} is {value!r}, which cannot be hashed. Use a string, or anything that can."
        ) from None


def _refuse_greenlets() -> None:
    """Raise if threads are not threads."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        name = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name = "eventlet"
    else:
        return
    raise RuntimeError(
        f"{name} has patched threading, so a thread is a greenlet here and cannot have an event "
        f"loop of its own. Serve the application with threads (gunicorn --worker-class gthread), "
        f"or keep {name} from patching."
    )


def _what_ran_out(error: OSError | RuntimeError) -> str | None:
    """What the process has no more of, and what to do; None if the error is another."""
    if isinstance(error, OSError):
        if error.errno == errno.EMFILE:
            return (
                "the process is out of file descriptors"
                f"{_limit('RLIMIT_NOFILE')}. Raise the limit (ulimit -n), use fewer threads, or "
                "close what is left open."
            )
        if error.errno == errno.ENFILE:
            return (
                "the machine is out of file descriptors. Raise its limit (sysctl fs.file-max), or "
                "close what is left open."
            )
        return None
    if "can't start new thread" in str(error):
        return (
            f"the process cannot start a thread beside its {threading.active_count()}"
            f"{_limit('RLIMIT_NPROC')}. Raise the limit (ulimit -u, or the container's limit of "
            "processes or memory), or use fewer threads."
        )
    return None


def _limit(name: str) -> str:
    """The soft limit as a remark in brackets; nothing where the platform has none."""
    if resource is None:
        return ""
    soft, _ = resource.getrlimit(getattr(resource, name))
    return f" ({name} is {'unlimited' if soft == resource.RLIM_INFINITY else soft})"
