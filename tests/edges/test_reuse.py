"""Managers that are taken over from ended threads: a new thread waits for none that has not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.core.support import Worker, give
from tests.edges.waits import Waits
from tests.middleware.wsgi import serve
from tests.servers.process import Server
from wsgi_async import AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager

THREADS = 8


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


def places(app: AsyncLoopMiddleware) -> set[tuple[str, ...]]:
    """Where a request waits for anything but its own coroutine."""
    with Waits() as waits:
        serve(app)
    return waits.places


def first_requests(*, reuse: bool) -> set[tuple[str, ...]]:
    """Where the first requests of new threads wait, while the threads before them are idle."""
    app = App()
    wrapped = AsyncLoopMiddleware(app, reuse=reuse)
    workers = [Worker() for _ in range(THREADS)]
    found = [worker.call(places, wrapped) for worker in workers]
    assert len(set(app.managers)) == THREADS
    for worker in workers:
        worker.end()
    for manager in app.managers:
        manager.stop()
    return set().union(*found[1:])  # the first one makes what is made once


def test_a_new_thread_does_not_wait_for_idle_ones() -> None:
    """With `reuse=True` a first request waits where it waits without, beside threads at rest."""
    without = first_requests(reuse=False)
    assert without  # at least for the start of the thread's own loop
    assert first_requests(reuse=True) <= without


def test_nor_for_one_that_sends_its_response() -> None:
    """A thread whose response is being read by a slow client holds up no other thread."""
    app = App()

    def streams(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app(environ, start_response)
        return (piece for piece in [b"a", b"b"])

    wrapped = AsyncLoopMiddleware(streams, reuse=True)
    serve(wrapped)  # so that what is made once is made
    with Worker() as slow, Worker() as quick:
        body = slow.call(begin, wrapped)
        found = quick.call(places, wrapped)
        slow.call(finish, body)
    assert len(set(app.managers)) == 3
    for manager in app.managers:
        manager.stop()
    assert found <= first_requests(reuse=False)


def begin(app: AsyncLoopMiddleware) -> Iterable[bytes]:
    from tests.middleware.wsgi import ignore_start, make_environ

    body = iter(app(make_environ(), ignore_start))
    assert next(body) == b"a"
    return body


def finish(body: Iterable[bytes]) -> None:
    assert list(body) == [b"b"]
    body.close()  # type: ignore[attr-defined]


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


def first_requests_on_waitress(reuse: str) -> list[set[tuple[str, ...]]]:
    """Where the first request of each of waitress's threads waits, but for the very first."""
    arguments = ("--listen=127.0.0.1:0", f"--threads={THREADS}", "tests.edges.reuse_app:app")
    with Server("-m", "waitress", *arguments, REUSE=reuse) as server:
        server.ready(r"Serving on http://127\.0\.0\.1:(\d+)")
        found: dict[int, set[tuple[str, ...]]] = {}
        # They take turns, but for one that is quicker than the one before it.
        for _ in itertools.takewhile(lambda _: len(found) < THREADS - 1, range(10 * THREADS)):
            answer = server.get("/")
            found.setdefault(answer["thread"], {tuple(place) for place in answer["places"]})
    return list(found.values())[1:]


def test_first_requests_on_waitress() -> None:
    """With Flask's extension no thread of waitress waits for another one at its first request."""
    pytest.importorskip("waitress")
    without, with_it = first_requests_on_waitress(""), first_requests_on_waitress("yes")
    assert len(with_it) > THREADS // 2
    assert all(without)  # at least for the start of the thread's own loop
    assert set().union(*with_it) <= set().union(*without)
