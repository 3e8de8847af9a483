from __future__ import annotations

import asyncio
import contextlib
import socketserver
import threading
import time
import urllib.request
import wsgiref.simple_server
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import werkzeug.serving

from tests.core.support import run_code
from tests.middleware.wsgi import LIMIT, answer_ok, make_environ, running_loop, serve
from tests.servers.process import wait_until
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class Seen:
    """An application that notes the manager of each request; they are stopped in the end."""

    def __init__(self) -> None:
        self.managers: list[AsyncioLoopManager] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        manager = loop_from(environ)
        self.managers.append(manager)
        assert manager.run(running_loop()) is manager.get_event_loop()
        start_response("200 OK", [])
        return [b"ok"]


@pytest.fixture
def seen() -> Iterator[Seen]:
    app = Seen()
    yield app
    for manager in app.managers:
        manager.stop(LIMIT)


def in_new_thread(fn: Callable[[], object]) -> None:
    """What a server does with each of its requests; returns when the thread has ended."""
    failures: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def request(app: WSGIApplication) -> None:
    """One request in a thread of its own."""
    in_new_thread(lambda: serve(app))


def test_the_next_thread_gets_the_manager_of_the_last(seen: Seen) -> None:
    """With reuse=True a server with a thread for each request needs one loop, not one for each."""
    app = AsyncLoopMiddleware(seen, reuse=True)
    for _ in range(5):
        request(app)
    assert len(seen.managers) == 5
    assert len(set(seen.managers)) == 1
    assert seen.managers[0].running


def test_without_it_the_manager_ends_with_its_thread(seen: Seen) -> None:
    """With reuse=False nothing outlives a thread, whatever the server."""
    app = AsyncLoopMiddleware(seen, reuse=False)
    for _ in range(2):
        in_new_thread(lambda: serve(app, make_environ(SERVER_SOFTWARE=PER_REQUEST[0])))
    assert seen.managers[0] is not seen.managers[1]
    wait_until(lambda: seen.managers[0].state == "stopped", what="the manager is stopped")


PER_REQUEST = [
    "Werkzeug/3.1.3",
    "WSGIServer/0.2",
    "WSGIServer/0.2 CPython/3.13.1",
    "WSGIServer",  # from Python 3.15 on
    "WSGIServer CPython/3.15.2",
]
POOLED = ["gunicorn/23.0.0", "waitress", "uWSGI", "Apache/2.4", "", None]


@pytest.mark.parametrize("reuse", ["auto", None])
@pytest.mark.parametrize(
    ("software", "reused"),
    [*((name, True) for name in PER_REQUEST), *((name, False) for name in POOLED)],
)
def test_by_default_it_is_on_for_servers_that_start_a_thread_for_each_request(
    seen: Seen, software: str | None, reused: bool, reuse: Any
) -> None:
    """A development server opens a client once, and a server with a pool changes nothing."""
    app = AsyncLoopMiddleware(seen, **({} if reuse is None else {"reuse": reuse}))
    environ = {} if software is None else {"SERVER_SOFTWARE": software}
    for _ in range(2):
        in_new_thread(lambda: serve(app, make_environ(**environ)))
    first, second = seen.managers
    assert (first is second) is reused


@pytest.mark.parametrize("server", ["wsgiref", "Werkzeug"])
def test_a_development_server_has_one_loop(seen: Seen, server: str) -> None:
    """The names that the standard library's server and Werkzeug's go by are known."""
    app, threads = AsyncLoopMiddleware(seen), set[int]()

    def note(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        threads.add(id(threading.current_thread()))
        kept.append(threading.current_thread())
        return app(environ, start_response)

    kept: list[threading.Thread] = []  # so that none gets another's id
    with serving(note, server) as url:
        for _ in range(3):
            with urllib.request.urlopen(url, timeout=LIMIT) as response:
                assert response.read() == b"ok"
            wait_until(lambda: not any(one.is_alive() for one in kept), what="the thread ends")
    assert len(threads) == 3
    assert len(set(seen.managers)) == 1


@contextlib.contextmanager
def serving(app: WSGIApplication, name: str) -> Iterator[str]:
    """A server in this process that starts a thread for each request; its address."""

    class Threaded(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
        pass

    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    class QuietWerkzeug(werkzeug.serving.WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

    server: socketserver.BaseServer
    if name == "wsgiref":
        server = Threaded(("127.0.0.1", 0), Quiet)
        server.set_app(app)
    else:
        server = werkzeug.serving.make_server(
            "127.0.0.1", 0, app, threaded=True, request_handler=QuietWerkzeug
        )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join(LIMIT)
        server.server_close()


@pytest.mark.parametrize("reuse", [True, "auto"])
def test_it_waits_for_nobody(seen: Seen, reuse: Any) -> None:
    """While the other threads are at their requests, a new one gets a loop of its own at once."""
    environ = {"SERVER_SOFTWARE": PER_REQUEST[0]}
    begun = [0.0]
    took: list[float] = []

    def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        took.append(time.monotonic() - begun[0])
        if len(took) < 10:
            in_new_thread(request)
        return seen(environ, start_response)

    def request() -> None:
        begun[0] = time.monotonic()
        serve(app, make_environ(**environ))

    app = AsyncLoopMiddleware(view, reuse=reuse)
    in_new_thread(request)
    assert len(set(seen.managers)) == 10
    assert min(took) < 0.04  # seconds; one of ten, as the machine may be busy


def test_a_thread_that_lives_on_keeps_its_manager(seen: Seen) -> None:
    """With reuse=True, too, later requests on a thread find what the first one had."""
    app = AsyncLoopMiddleware(seen, reuse=True)

    def serve_two_and_let_another_in() -> None:
        serve(app)
        request(app)
        serve(app)

    in_new_thread(serve_two_and_let_another_in)
    first, other, again = seen.managers
    assert first is again
    assert other is not first


def test_middlewares_with_equal_arguments_share_it_within_a_thread(seen: Seen) -> None:
    """Two applications have one loop in each thread; with another idle time they have two."""
    apps = [AsyncLoopMiddleware(seen, reuse=True) for _ in range(2)]
    apps.append(AsyncLoopMiddleware(seen, reuse=True, max_idle_time=30))
    apps.append(AsyncLoopMiddleware(seen))
    in_new_thread(lambda: [serve(app) for app in apps])
    first, second, slower, not_reused = seen.managers
    assert first is second
    assert len({first, slower, not_reused}) == 3


def test_the_next_thread_sees_no_context_variables_of_the_last(seen: Seen) -> None:
    """The loop goes on to the next thread, the values of the last request do not."""
    variable: ContextVar[str] = ContextVar("variable", default="fresh")
    found: list[str] = []

    async def look() -> None:
        found.append(variable.get())
        variable.set("used")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        loop_from(environ).run(look())
        loop_from(environ).run(look())
        return seen(environ, start_response)

    middleware = AsyncLoopMiddleware(app, reuse=True)
    request(middleware)
    request(middleware)
    assert len(set(seen.managers)) == 1
    assert found == ["fresh", "used"] * 2


def test_one_that_is_stopped_while_it_waits_is_replaced(seen: Seen) -> None:
    """Nobody gets a manager that a stop() has ended."""
    app = AsyncLoopMiddleware(seen, reuse=True)
    request(app)
    seen.managers[0].stop(LIMIT)
    request(app)
    request(app)
    assert seen.managers[1] is seen.managers[2] is not seen.managers[0]


def test_one_that_is_stopped_in_the_request_is_replaced(seen: Seen) -> None:
    """A request that stops its manager spoils neither its thread nor the next."""
    app = AsyncLoopMiddleware(seen, reuse=True)

    def serve_and_stop() -> None:
        serve(app)
        seen.managers[0].stop(LIMIT)
        serve(app)

    in_new_thread(serve_and_stop)
    request(app)
    assert seen.managers[1] is seen.managers[2] is not seen.managers[0]


def test_the_idle_time_is_that_of_the_arguments(seen: Seen) -> None:
    """A manager that no thread wants is stopped, without any thread's doing."""
    app = AsyncLoopMiddleware(seen, reuse=True, max_idle_time=0.01)
    request(app)
    wait_until(lambda: seen.managers[0].state == "stopped", what="the manager is stopped")
    request(app)
    assert seen.managers[1] is not seen.managers[0]


def test_the_number_of_idle_managers_is_that_of_the_arguments(seen: Seen) -> None:
    """More than `max_idle` do not stay."""
    app = AsyncLoopMiddleware(seen, reuse=True, max_idle=1)

    def serve_and_let_another_in() -> None:
        serve(app)
        request(app)

    in_new_thread(serve_and_let_another_in)
    inner, outer = seen.managers[1], seen.managers[0]
    wait_until(lambda: inner.state == "stopped", what="the one that waited longer is stopped")
    assert outer.running


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"force_create": False}, TypeError, "reuse and force_create=False"),
        ({"max_idle": 0}, ValueError, "max_idle is 0"),
        ({"max_idle": 1.5}, TypeError, "max_idle is 1.5"),
        ({"max_idle_time": -1}, ValueError, "max_idle_time is -1"),
        ({"max_idle_time": float("inf")}, ValueError, "max_idle_time is inf"),
        ({"max_idle_time": None}, TypeError, "max_idle_time is None"),
    ],
)
def test_a_bad_argument_is_refused_when_the_application_is_wrapped(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Not at the first request; one sentence says what is wrong, another one what to do."""
    with pytest.raises(error) as caught:
        AsyncLoopMiddleware(answer_ok, **{"reuse": True, **arguments})
    state, way_out = str(caught.value).split(". ", 1)
    assert says in state
    assert way_out


def test_uvloop_goes_on_to_the_next_thread_as_well(seen: Seen) -> None:
    """One of uvloop's loops is reused as asyncio's are."""
    uvloop = pytest.importorskip("uvloop")
    app = AsyncLoopMiddleware(seen, reuse=True, loop_factory=uvloop.new_event_loop)
    for _ in range(3):
        request(app)
    assert len(set(seen.managers)) == 1
    assert isinstance(seen.managers[0].get_event_loop(), uvloop.Loop)


FORK = """
import os, signal, threading, warnings
from wsgi_async import AsyncLoopMiddleware, loop_from
warnings.simplefilter("ignore", DeprecationWarning)  # of fork() with threads; it is meant

seen = []

async def pid():
    return os.getpid()

def app(environ, start_response):
    seen.append(loop_from(environ))
    assert seen[-1].run(pid()) == os.getpid()
    return [b""]

middleware = AsyncLoopMiddleware(app, reuse=True)

def ask():
    thread = threading.Thread(target=middleware, args=({}, None))
    thread.start()
    thread.join()

ask()
child = os.fork()
if child == 0:
    signal.alarm(20)
    ask()
    ask()
    assert seen[1] is seen[2] is not seen[0]
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
ask()
assert seen[1] is seen[0]
print("done")
"""


def test_a_forked_child_takes_none_of_the_parents() -> None:
    """A server that forks with waiting managers: the child makes its own, the parent keeps its."""
    assert run_code(FORK) == "done\n"


def test_background_work_outlives_the_thread(seen: Seen) -> None:
    """What a request submitted goes on while no thread has the manager."""
    go_on, went_on = threading.Event(), threading.Event()

    async def work() -> None:
        await asyncio.to_thread(go_on.wait, LIMIT)
        went_on.set()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        loop_from(environ).submit_task(work())
        return seen(environ, start_response)

    request(AsyncLoopMiddleware(app, reuse=True))
    go_on.set()
    assert went_on.wait(LIMIT)
