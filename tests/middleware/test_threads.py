from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.core.support import run_code
from tests.middleware.wsgi import LIMIT, running_loop, serve
from tests.servers.process import wait_until
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopThreadPoolExecutor,
    current_manager,
    get_or_create_loop_manager,
    loop_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.middleware.conftest import MakePool


class Seen:
    """An application that notes the manager of each request, after the threads have met."""

    def __init__(self, parties: int = 1) -> None:
        self.managers: list[AsyncioLoopManager] = []
        self.barrier = threading.Barrier(parties)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.barrier.wait(LIMIT)
        manager = loop_from(environ)
        assert manager.run(running_loop()) is manager.get_event_loop()
        self.managers.append(manager)
        start_response("200 OK", [])
        return [b"ok"]


def test_requests_on_one_thread_share_its_manager(worker: Executor) -> None:
    """What one request opened on the loop, the next one finds open."""
    app = Seen()
    middleware = AsyncLoopMiddleware(app)
    for _ in range(3):
        worker.submit(serve, middleware).result(LIMIT)
    assert len(app.managers) == 3
    assert len(set(app.managers)) == 1


def test_each_thread_has_a_manager_of_its_own(make_pool: MakePool) -> None:
    """Requests that run at the same time never share a loop."""
    app = Seen(parties=4)
    middleware = AsyncLoopMiddleware(app)
    with make_pool(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda _: serve(middleware), range(4))) == [b"ok"] * 4
    assert len(app.managers) == 12
    assert len(set(app.managers)) == 4


def test_a_thread_does_not_inherit_the_manager_above_it(worker: Executor) -> None:
    """With force_create, the default, a manager of the main thread's stays the main thread's."""
    above = get_or_create_loop_manager("inherited?")
    above.start()
    app = Seen()
    worker.submit(serve, AsyncLoopMiddleware(app, id="inherited?")).result(LIMIT)
    assert app.managers != [above]
    above.stop()


def test_without_force_create_the_threads_share_the_manager_above_them(
    make_pool: MakePool,
) -> None:
    """A server with a thread for each request keeps one loop for all of them."""
    above = get_or_create_loop_manager("shared")
    above.start()
    app = Seen(parties=2)
    middleware = AsyncLoopMiddleware(app, id="shared", force_create=False)
    with make_pool(2) as pool:
        for _ in range(2):
            assert list(pool.map(lambda _: serve(middleware), range(2))) == [b"ok"] * 2
    assert app.managers == [above] * 4
    assert above.running  # the threads that used it did not take it with them
    above.stop()


def test_without_force_create_and_with_nothing_above_a_thread_makes_its_own(
    worker: Executor,
) -> None:
    """It works without a manager in the main thread too."""
    app = Seen()
    middleware = AsyncLoopMiddleware(app, id="nobody's", force_create=False)
    worker.submit(serve, middleware).result(LIMIT)
    worker.submit(serve, middleware).result(LIMIT)
    assert len(set(app.managers)) == 1


@pytest.mark.parametrize("attempt", range(20))
def test_threads_that_find_an_unstarted_manager_at_once_all_get_it(attempt: int) -> None:
    """The first request starts it, whichever that is; none of the others fails."""
    above = get_or_create_loop_manager(("race", attempt))
    app = Seen()
    middleware = AsyncLoopMiddleware(app, id=("race", attempt), force_create=False)
    barrier = threading.Barrier(4)

    def request() -> None:
        barrier.wait(LIMIT)
        serve(middleware)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(request) for _ in range(4)]:
            future.result(LIMIT)
    assert app.managers == [above] * 4
    above.stop()


@pytest.mark.parametrize("force_create", [True, False])
def test_a_manager_that_somebody_stopped_is_replaced(worker: Executor, force_create: bool) -> None:
    """The request after a stop() works."""
    app = Seen()
    middleware = AsyncLoopMiddleware(app, id="stopped", force_create=force_create)
    worker.submit(serve, middleware).result(LIMIT)
    app.managers[0].stop()
    worker.submit(serve, middleware).result(LIMIT)
    assert app.managers[1].running


def test_middlewares_with_equal_arguments_share_a_manager_and_others_do_not(
    worker: Executor,
) -> None:
    """Two applications in one process have one loop in each thread, unless they ask for two."""
    app = Seen()
    for arguments in ({}, {}, {"id": "other"}, {"task_type": None}):
        worker.submit(serve, AsyncLoopMiddleware(app, **arguments)).result(LIMIT)
    first, same, other, default = app.managers
    assert first is same is default
    assert other is not first


def test_the_manager_of_a_pools_own_thread_serves_them_all() -> None:
    """A pool of ours that makes managers has one loop in each thread; another type gets its own."""
    app = Seen()
    with LoopThreadPoolExecutor(1) as pool:
        own = pool.submit(current_manager).result(LIMIT)
        for arguments in ({}, {"id": "web"}, {"reuse": True}):
            pool.submit(serve, AsyncLoopMiddleware(app, **arguments)).result(LIMIT)
        assert app.managers == [own] * 3
        assert pool.submit(get_or_create_loop_manager, "web").result(LIMIT) is own
        typed = AsyncLoopMiddleware(lambda *_: [], id="typed", task_type="pages")
        pool.submit(serve, typed).result(LIMIT)
        assert pool.submit(get_or_create_loop_manager, "typed").result(LIMIT) is not own


def test_work_goes_on_between_requests_and_ends_with_the_thread(make_pool: MakePool) -> None:
    """Submitted work runs while no request does; its cleanup runs when the thread ends."""
    step = {name: Future[None]() for name in ("begun", "go", "went", "cleaned")}

    async def work() -> None:
        step["begun"].set_result(None)
        try:
            await asyncio.wrap_future(step["go"])
            step["went"].set_result(None)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            step["cleaned"].set_result(None)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        loop_from(environ).submit_task(work())
        return [b"ok"]

    with make_pool(1) as pool:
        assert pool.submit(serve, AsyncLoopMiddleware(app)).result(LIMIT) == b"ok"
        step["begun"].result(LIMIT)
        step["go"].set_result(None)
        step["went"].result(LIMIT)
        assert not step["cleaned"].done()
    step["cleaned"].result(LIMIT)


def test_neither_the_thread_nor_the_middleware_keeps_a_manager_for_ever(
    make_pool: MakePool,
) -> None:
    """When a worker thread has ended its manager goes, though the middleware lives on."""
    app = Seen()
    middleware = AsyncLoopMiddleware(app)
    with make_pool(1) as pool:
        pool.submit(serve, middleware).result(LIMIT)
    gone = weakref.ref(app.managers.pop())
    wait_until(lambda: (gc.collect(), gone())[1] is None, what="the manager is collected")


FORK = """
import os, signal
from wsgi_async import AsyncLoopMiddleware, loop_from
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork() with threads; it is meant

seen = []

async def pid():
    return os.getpid()

def app(environ, start_response):
    seen.append(loop_from(environ))
    return [b"%d" % seen[-1].run(pid())]

middleware = AsyncLoopMiddleware(app, force_create={force_create})

def ask():
    [body] = middleware({{}}, None)
    return int(body)

assert ask() == os.getpid()
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert ask() == os.getpid()
    assert ask() == os.getpid()
    assert seen[1] is seen[2] is not seen[0]
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert ask() == os.getpid()
assert seen[1] is seen[0]
print("done")
"""


@pytest.mark.parametrize("force_create", [True, False])
def test_a_forked_child_makes_a_manager_of_its_own(force_create: bool) -> None:
    """A thread that had a loop forks: the child's requests get a new one, the parent keeps its."""
    assert run_code(FORK.format(force_create=force_create)) == "done\n"


def test_uvloop_serves_a_worker_thread_as_well(worker: Executor) -> None:
    """With loop_factory=uvloop.new_event_loop each thread gets one of uvloop's loops."""
    uvloop = pytest.importorskip("uvloop")
    app = Seen()
    middleware = AsyncLoopMiddleware(app, loop_factory=uvloop.new_event_loop)
    for _ in range(3):
        worker.submit(serve, middleware).result(LIMIT)
    assert len(set(app.managers)) == 1
    assert isinstance(app.managers[0].get_event_loop(), uvloop.Loop)
