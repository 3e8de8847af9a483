"""`per="process"`: one manager for all threads of a process."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import run_code
from tests.middleware.wsgi import LIMIT, answer_ok, running_loop, serve
from tests.servers.process import LOOP_THREAD_WORKER, assert_clean, gunicorn
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    current_manager,
    loop_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.middleware.conftest import MakePool


class Seen:
    """An application that notes the manager of each request, after the threads have met.

    Lives as long as the test; its managers are stopped in the end.
    """

    def __init__(self) -> None:
        self.managers: list[AsyncioLoopManager] = []
        self.barrier = threading.Barrier(1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.barrier.wait(LIMIT)
        manager = loop_from(environ)
        loop = manager.run(running_loop(), task_type=manager.task_type)
        assert loop is manager.get_event_loop()
        self.managers.append(manager)
        start_response("200 OK", [])
        return [b"ok"]


@pytest.fixture
def seen() -> Iterator[Seen]:
    app = Seen()
    yield app
    for manager in app.managers:
        manager.stop(LIMIT)


def processwide(app: Any, **options: Any) -> AsyncLoopMiddleware:
    return AsyncLoopMiddleware(app, per="process", **{"id": "processwide", **options})


def test_all_threads_share_one_manager(seen: Seen, make_pool: MakePool) -> None:
    """An SDK that keeps one client per process has one, whichever thread a request is on."""
    middleware = processwide(seen)
    seen.barrier = threading.Barrier(4)
    for _ in range(2):
        with make_pool(4) as pool:
            assert list(pool.map(lambda _: serve(middleware), range(4))) == [b"ok"] * 4
    seen.barrier = threading.Barrier(1)
    assert serve(middleware) == b"ok"
    assert len(seen.managers) == 9
    assert len(set(seen.managers)) == 1


def test_it_has_a_thread_of_its_own(seen: Seen, worker: Executor) -> None:
    """No worker's computing holds it up, also where workers have loops that live on them."""
    middleware = processwide(seen)
    worker.submit(serve, middleware).result(LIMIT)
    gate, inside = threading.Event(), threading.Event()

    def compute(*_: object) -> list[bytes]:
        inside.set()
        gate.wait(LIMIT)
        return []

    computing = worker.submit(serve, processwide(compute))
    inside.wait(LIMIT)
    assert serve(middleware) == b"ok"
    gate.set()
    computing.result(LIMIT)


@pytest.mark.parametrize("attempt", range(10))
def test_first_requests_at_once_get_the_same(seen: Seen, make_pool: MakePool, attempt: int) -> None:
    """However many threads come first, one manager is made, and none of them fails."""
    middleware = processwide(seen)
    barrier = threading.Barrier(4)

    def request() -> None:
        barrier.wait(LIMIT)
        serve(middleware)

    with make_pool(4) as pool:
        for future in [pool.submit(request) for _ in range(4)]:
            future.result(LIMIT)
    assert len(set(seen.managers)) == 1


@pytest.mark.parametrize("attempt", range(10))
def test_one_that_was_stopped_is_replaced_for_all(
    seen: Seen, make_pool: MakePool, attempt: int
) -> None:
    """After a stop() the threads get a new one, and all of them the same."""
    middleware = processwide(seen)
    serve(middleware)
    barrier = threading.Barrier(4)

    def request() -> None:
        serve(middleware)
        if barrier.wait(LIMIT) == 0:
            seen.managers[0].stop(LIMIT)
        barrier.wait(LIMIT)
        serve(middleware)

    with make_pool(4) as pool:
        for future in [pool.submit(request) for _ in range(4)]:
            future.result(LIMIT)
    first, second = dict.fromkeys(seen.managers)
    assert (first.running, second.running) == (False, True)
    assert seen.managers.count(second) == 4


def test_the_request_finds_it_everywhere(worker: Executor) -> None:
    """`current_manager()`, `wsgi_async.run()` and `environ["async.loop"]` are one."""
    loops: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        manager = loop_from(environ)
        assert current_manager() is manager
        loops.extend((manager.get_event_loop(), wsgi_async.run(running_loop())))
        return []

    for _ in range(2):
        worker.submit(serve, processwide(app, task_type="web")).result(LIMIT)
    assert len(loops) == 4
    assert len(set(loops)) == 1


def test_middlewares_with_equal_arguments_share_it_and_others_do_not(seen: Seen) -> None:
    """Two applications in one process have one loop, unless they ask for two."""
    asked: list[dict[str, Any]] = [{}, {}, {"timeout": 5}, {"grace": 1.0}, {"task_type": "web"}]
    for options in asked:
        serve(AsyncLoopMiddleware(seen, id="among equals", per="process", **options))
    serve(AsyncLoopMiddleware(seen, id="among equals"))
    first, same, limited, *others = seen.managers
    assert first is same is limited
    assert len({first, *others}) == 4


def test_work_outlives_the_threads(make_pool: MakePool) -> None:
    """What a request has submitted goes on when its thread has ended."""
    go_on: Future[None] = Future()
    futures: list[Future[str]] = []

    async def work() -> str:
        await asyncio.wrap_future(go_on)
        return "done"

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        futures.append(loop_from(environ).submit_task(work()))
        return []

    with make_pool(1) as pool:
        pool.submit(serve, processwide(app)).result(LIMIT)
    go_on.set_result(None)
    assert futures[0].result(LIMIT) == "done"


@pytest.mark.parametrize("per", ["thread", "process"])
def test_one_that_cannot_start_is_tried_again(seen: Seen, worker: Executor, per: Any) -> None:
    """A request that gets no loop says why; the next one may get it."""
    errors = [OSError(24, "Too many open files")]

    def factory() -> asyncio.AbstractEventLoop:
        if errors:
            raise errors.pop()
        return asyncio.new_event_loop()

    middleware = AsyncLoopMiddleware(seen, id="late", per=per, loop_factory=factory)
    with pytest.raises(RuntimeError, match="next request tries again"):
        worker.submit(serve, middleware).result(LIMIT)
    assert worker.submit(serve, middleware).result(LIMIT) == b"ok"


def test_a_machine_without_file_descriptors(worker: Executor) -> None:
    """The error names the machine's limit, not the process's."""

    def factory() -> asyncio.AbstractEventLoop:
        raise OSError(errno.ENFILE, "Too many open files in system")

    middleware = AsyncLoopMiddleware(answer_ok, loop_factory=factory)
    with pytest.raises(RuntimeError, match=r"sysctl fs\.file-max.*next request tries again"):
        worker.submit(serve, middleware).result(LIMIT)


def test_another_error_of_the_start_is_raised_as_it_is(worker: Executor) -> None:
    """What on_start raises is not taken for a limit that was reached."""

    def connect() -> None:
        raise ConnectionRefusedError("no database")

    with pytest.raises(ConnectionRefusedError, match="no database"):
        worker.submit(serve, AsyncLoopMiddleware(answer_ok, on_start=connect)).result(LIMIT)


FORK = """
import os, signal, threading, warnings
from wsgi_async import AsyncLoopMiddleware, loop_from
warnings.simplefilter("ignore", DeprecationWarning)  # of fork() with threads; it is meant

seen = []

async def pid():
    return os.getpid()

def app(environ, start_response):
    seen.append(loop_from(environ))
    return [b"%d" % seen[-1].run(pid())]

middleware = AsyncLoopMiddleware(app, per="process")

def ask():
    [body] = middleware({{}}, None)
    assert int(body) == os.getpid()

def ask_in_thread():
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

def main():
    if {used}:
        ask()
        ask_in_thread()
    before = len(seen)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        ask_in_thread()
        ask()
        assert len(seen) == before + 2
        assert seen[-1] is seen[-2] not in seen[:before]
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ask()
    ask_in_thread()
    assert len(set(seen)) == 1
    print("done")

if {in_thread}:
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
else:
    main()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_each_forked_process_makes_its_own(used: bool, in_thread: bool) -> None:
    """Whether the parent had one or not; the parent keeps its own."""
    assert run_code(FORK.format(used=used, in_thread=in_thread)) == "done\n"


EXIT = """
import asyncio, threading
from wsgi_async import AsyncLoopMiddleware, loop_from

async def keep():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned")

async def begun():
    await asyncio.sleep(0)

def app(environ, start_response):
    loop_from(environ).submit_task(keep())
    loop_from(environ).run(begun())
    return []

thread = threading.Thread(target=AsyncLoopMiddleware(app, per="process"), args=({}, None))
thread.start()
thread.join()
print("the end")
"""


def test_it_is_stopped_with_the_process() -> None:
    """Not with the thread of the request that made it; its tasks clean up then."""
    assert run_code(EXIT) == "the end\ncleaned\n"


@pytest.mark.gunicorn
@pytest.mark.parametrize("worker_class", ["gthread", LOOP_THREAD_WORKER])
def test_each_worker_of_gunicorn_makes_its_own_with_preload(worker_class: str) -> None:
    """Also if the master has served a request; each process ends its own work at its end."""
    options = ("--preload", "--workers", "2", "--threads", "4")
    app = "tests.middleware.processwide_app:app"
    with gunicorn(app, *options, worker_class=worker_class) as server:
        managers: dict[int, set[int]] = {}
        while len(managers) < 2:
            answer = server.get("/")
            assert answer["ran_in"] == answer["pid"] != server.pid
            managers.setdefault(answer["pid"], set()).add(answer["manager"])
        assert [len(used) for used in managers.values()] == [1, 1]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        cleaned = sorted(int(found[1]) for found in server.find(r"cleaned in (\d+)"))
        assert cleaned == sorted([server.pid, *managers])
        assert_clean(server)
