"""waitress: worker threads with an event loop on each.

Serve with `serve()` in place of waitress' function of this name::

    from wsgi_async.integrations.waitress import serve

    serve(app, listen="127.0.0.1:8080", threads=8)
"""
# waitress has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from waitress import server as servers
from waitress.utilities import logger, queue_logger

from wsgi_async.core import LoopThreadPoolExecutor
from wsgi_async.core.actors.leaving import allow_streams, end_streams
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.managers.thread_pool import crew_of

if TYPE_CHECKING:
    from concurrent.futures import Future
    from wsgiref.types import WSGIApplication

__all__ = ["LoopThreadDispatcher", "create_server", "serve"]


def serve(app: WSGIApplication, **options: Any) -> None:
    """Serve an application until SIGINT, or until your own signal handler raises SystemExit.

    It then ends streams of `iterate()`, and each thread closes its loop. waitress does not handle
    SIGTERM. To handle it in the same way, call
    `signal.signal(signal.SIGTERM, lambda *_: sys.exit())` first.

    Args:
        app: The application.
        **options: Options for `waitress.serve()`.
    """
    logging.basicConfig()  # as waitress does
    server = create_server(app, **options)
    server.print_listen("Serving on http://{}:{}")
    server.run()


def create_server(app: WSGIApplication, **options: Any) -> Any:
    """Create a waitress server, without running it. The loops live on its worker threads.

    Args:
        app: The application.
        **options: What `waitress.create_server()` takes.
    """
    options.setdefault("map", {})
    server: Any = servers.create_server(app, **options)
    theirs, ours = server.task_dispatcher, LoopThreadDispatcher(server.adj.threads)
    each: tuple[Any, ...] = (server, *options["map"].values())  # a server for each socket
    for one in each:
        if hasattr(one, "task_dispatcher"):
            one.task_dispatcher = ours
    theirs.set_thread_count(0)  # waitress has started its threads already
    return server


class LoopThreadDispatcher:
    """Serves requests on the threads of a pool, whose loops run on these threads.

    Lives as long as the server. Any thread may call it.

    Args:
        threads: How many threads there are.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = LoopThreadPoolExecutor(threads, "waitress", own_managers=False)
        self._lock = new_mutex()  # guards the count
        self._tasks = 0  # requests that are not done

    def add_task(self, task: Any) -> None:
        """Serve a request on a thread, as waitress' dispatcher does."""
        future = self._pool.submit(task.service)
        with self._lock:
            self._tasks += 1
            waiting = self._tasks - self._threads
        future.add_done_callback(partial(self._done, task))
        if waiting > 0:
            queue_logger.warning("Task queue depth is %d", waiting)

    def _done(self, task: Any, future: Future[Any]) -> None:
        with self._lock:
            self._tasks -= 1
        if future.cancelled():
            task.cancel()
        elif (error := future.exception()) is not None:
            logger.error("Exception when servicing %r", task, exc_info=error)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the streams and the threads, as waitress' dispatcher does.

        Args:
            cancel_pending: Whether to drop the requests that no thread has taken yet.
            timeout: Seconds to wait for the others.

        Returns:
            Whether requests may have been dropped.
        """
        end_streams()
        waiting = self._tasks - self._threads
        workers = crew_of(self._pool).close(cancel_futures=cancel_pending)
        if cancel_pending and waiting > 0:
            logger.warning("Canceling %d pending task(s)", waiting)
        deadline = Deadline(timeout)
        for worker in workers:
            worker.join(deadline.left())
        if not any(worker.alive for worker in workers):
            allow_streams()  # the process may have another server, or go on without one
        return cancel_pending
