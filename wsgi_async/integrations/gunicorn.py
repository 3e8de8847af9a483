"""gunicorn: worker threads on which a loop lives, and streams that end before the worker does.

Serve with `LoopThreadWorker` in place of the `gthread` worker::

    gunicorn -k wsgi_async.integrations.gunicorn.LoopThreadWorker --threads 8 app:app

or have gunicorn's own `gthread` and `sync` workers end streams in time, in `gunicorn.conf.py`::

    from wsgi_async.integrations.gunicorn import post_worker_init
"""
# gunicorn has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from wsgi_async.core import LoopThreadPoolExecutor
from wsgi_async.core.actors.leaving import end_streams
from wsgi_async.core.managers.process import stop_all

from .gunicorn_connections import Connections, Requests
from .gunicorn_sockets import use_lazy_socket

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["LoopThreadWorker", "post_worker_init"]


class LoopThreadWorker(ThreadWorker):
    """gunicorn's `gthread` worker, with event loops that run on its worker threads.

    It accepts all settings of `gthread`. The manager that `AsyncLoopMiddleware` makes for a thread
    lives on that thread: `run()` needs no other thread, and background tasks continue whenever the
    thread waits for a coroutine or for the next request. They do not run while the thread computes,
    or reads from or writes to a slow client.

    When the worker stops (SIGTERM, `--max-requests` and so on), streams of `iterate()` get half of
    `--graceful-timeout` to finish. Then they are ended. Each thread closes its loop itself, after
    its last request, and the process's other managers are stopped after the hook `worker_exit`,
    where their cleanup can still start threads. Lives as long as the worker process.
    """

    _alive = True

    def __init__(self, *args: Any, **options: Any) -> None:
        self._connections = Connections()
        super().__init__(*args, **options)

    @property
    def alive(self) -> bool:
        """Whether the worker continues. gunicorn sets it to False at every orderly stop."""
        return self._alive

    @alive.setter
    def alive(self, alive: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._alive = alive
        if not alive:
            self._connections.stop()
            end_streams(_time_of_streams(self))

    def init_process(self) -> None:
        """Start to serve, in the worker process."""
        worker_exit = self.cfg.worker_exit

        def stop_afterwards(server: Any, worker: Any) -> None:
            try:
                worker_exit(server, worker)
            finally:
                stop_all()

        self.cfg.set("worker_exit", stop_afterwards)
        super().init_process()

    def get_thread_pool(self) -> Executor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The pool. The middleware's options apply to its loops."""
        pool = LoopThreadPoolExecutor(self.cfg.threads, "gunicorn", own_managers=False)
        self._connections.use(pool, lambda: self.nr_conns > self.cfg.threads)
        return pool

    def handle(self, conn: Any) -> Any:
        """Serve a connection on a thread of the pool, which waits for its requests in its loop.

        Returns:
            The same as gunicorn's method: whether to keep the connection for another request.
        """
        use_lazy_socket(conn)
        requests = Requests(self._connections, conn)
        try:
            keep = self._handle_first(conn, requests)
            while keep is True:  # old versions return something else
                comes = requests.next_comes()
                if comes is not True:
                    return comes is None  # with None, the main thread waits for the next request
                keep = super().handle(conn)
        finally:
            requests.end()
        return keep

    def _handle_first(self, conn: Any, requests: Requests) -> Any:
        wait_for_data = getattr(conn, "wait_for_data", None)
        if wait_for_data is None or conn.initialized:  # old versions do not wait in a thread
            return super().handle(conn)
        conn.wait_for_data = partial(requests.first_comes, wait_for_data)
        try:
            return super().handle(conn)
        finally:
            del conn.wait_for_data  # it leads back to the connection: avoid a cycle

    def run(self) -> None:
        """Serve, then wait for the requests that still run, and for the loops to close."""
        try:
            super().run()
        finally:
            end_streams()  # after SIGINT, SIGQUIT or an error, streams get no time
            # No timeout: gunicorn kills a worker that takes too long.
            self.tpool.shutdown()


def _time_of_streams(worker: Any) -> float:
    # With `reload`, a developer waits for the restart.
    return 0.0 if worker.cfg.reload else worker.cfg.graceful_timeout / 2


def post_worker_init(worker: Any) -> None:
    """A hook for `gunicorn.conf.py` that ends streams in time under a `gthread` or `sync` worker.

    When SIGTERM comes, or `--max-requests` are served, streams of `iterate()` have half of
    `--graceful-timeout` to reach their end, and end then. On SIGINT, SIGQUIT and a reload they
    end at once. If your configuration has a hook of this name, call this one in it. It does
    nothing with `LoopThreadWorker`, which does not need it, and with workers of other kinds.

    Args:
        worker: gunicorn's worker.
    """
    if isinstance(worker, LoopThreadWorker) or not isinstance(worker, (ThreadWorker, SyncWorker)):
        return
    _chain_sigterm(worker)
    worker_int = worker.cfg.worker_int  # called on SIGINT, on SIGQUIT, and by the reloader

    def end_at_once(worker: Any) -> None:
        end_streams()
        worker_int(worker)

    worker.cfg.set("worker_int", end_at_once)
    worker.wsgi = _Told(worker)  # pyright: ignore[reportAttributeAccessIssue]


def _chain_sigterm(worker: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def handle(sig: int, frame: Any) -> None:
        end_streams(_time_of_streams(worker))
        if callable(before):  # pragma: no branch - gunicorn's workers have a handler
            before(sig, frame)

    signal.signal(signal.SIGTERM, handle)
    signal.siginterrupt(signal.SIGTERM, False)  # as gunicorn sets it


class _Told:
    """The application. Each request checks whether the worker ends. Lives as long as the worker."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._app = worker.wsgi

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._worker.alive:
            end_streams(_time_of_streams(self._worker))  # this may be the last of --max-requests
        return self._app(environ, start_response)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)  # for hooks that look at `worker.wsgi`
