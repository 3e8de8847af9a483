"""Managers that are taken over from ended threads: a new thread waits for none that has not."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from tests.core.support import Worker, give
from tests.middleware.wsgi import serve
from tests.servers.process import Server
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager

THREADS = 8

SLACK = 0.015
"""Seconds that a busy machine may add to a first request; a wait in vain adds 0.05."""


class App:
    """Runs something on its manager, and notes which that is."""

    def __init__(self) -> None:
        self.managers: list[AsyncioLoopManager] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        manager = loop_from(environ)
        manager.run(give(1))
        self.managers.append(manager)
        start_response("200 OK", [])
        return [b"ok"]


def first_requests(*, reuse: bool) -> list[float]:
    """How long each new thread's first request takes, while the ones before it are idle."""
    app = App()
    wrapped = AsyncLoopMiddleware(app, reuse=reuse)
    workers = [Worker() for _ in range(THREADS)]
    took = [worker.call(time_of_request, wrapped) for worker in workers]
    assert len(set(app.managers)) == THREADS
    for worker in workers:
        worker.end()
    for manager in app.managers:
        manager.stop()
    return took[1:]  # the first one imports things


def time_of_request(app: AsyncLoopMiddleware) -> float:
    began = time.perf_counter()
    assert serve(app) == b"ok"
    return time.perf_counter() - began


def test_a_new_thread_does_not_wait_for_idle_ones() -> None:
    """With `reuse=True` a first request takes what it takes without, beside threads at rest."""
    first_requests(reuse=False)
    without, with_it = first_requests(reuse=False), first_requests(reuse=True)
    assert statistics.median(with_it) < 1.3 * statistics.median(without) + SLACK


def test_nor_for_one_that_sends_its_response() -> None:
    """A thread whose response is being read by a slow client holds up no other thread."""
    app = App()

    def streams(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app(environ, start_response)
        return (piece for piece in [b"a", b"b"])

    wrapped = AsyncLoopMiddleware(streams, reuse=True)
    serve(wrapped)  # so that what is made once is made
    took = []
    with Worker() as slow:
        body = slow.call(begin, wrapped)
        for _ in range(5):
            with Worker() as quick:
                took.append(quick.call(time_of_body, wrapped))
                # It is to have a manager of its own each time.
                quick.call(app.managers[-1].stop)
        slow.call(finish, body)
    for manager in app.managers:
        manager.stop()
    assert statistics.median(took) < 0.04


def begin(app: AsyncLoopMiddleware) -> Iterable[bytes]:
    from tests.middleware.wsgi import ignore_start, make_environ

    body = iter(app(make_environ(), ignore_start))
    assert next(body) == b"a"
    return body


def finish(body: Iterable[bytes]) -> None:
    assert list(body) == [b"b"]
    body.close()  # type: ignore[attr-defined]


def time_of_body(app: AsyncLoopMiddleware) -> float:
    began = time.perf_counter()
    assert serve(app) == b"ab"
    return time.perf_counter() - began


def test_an_ended_threads_manager_is_still_taken() -> None:
    """What `reuse=True` is for goes on: the next thread has the loop of one that has ended."""
    app = App()
    wrapped = AsyncLoopMiddleware(app, reuse=True)
    idle = Worker()
    idle.call(serve, wrapped)
    for _ in range(5):
        with Worker() as worker:
            worker.call(serve, wrapped)
    assert len(set(app.managers)) == 2
    idle.end()
    for manager in app.managers:
        manager.stop()


# -- a real server ---------------------------------------------------------------------------------


def first_requests_on_waitress(reuse: str) -> list[float]:
    """How long the first request of each of waitress's threads takes, but for the very first."""
    arguments = ("--listen=127.0.0.1:0", f"--threads={THREADS}", "tests.edges.reuse_app:app")
    with Server("-m", "waitress", *arguments, REUSE=reuse) as server:
        server.ready(r"Serving on http://127\.0\.0\.1:(\d+)")
        took: dict[int, float] = {}
        # They take turns, but for one that is quicker than the one before it.
        for _ in itertools.takewhile(lambda _: len(took) < THREADS - 1, range(10 * THREADS)):
            began = time.perf_counter()
            thread = server.get("/")["thread"]
            took.setdefault(thread, time.perf_counter() - began)
    return list(took.values())[1:]


def test_first_requests_on_waitress() -> None:
    """With Flask's extension no thread of waitress is slow to give its first answer."""
    pytest.importorskip("waitress")
    without, with_it = first_requests_on_waitress(""), first_requests_on_waitress("yes")
    assert len(with_it) > THREADS // 2
    assert statistics.median(with_it) < 1.3 * statistics.median(without) + SLACK
