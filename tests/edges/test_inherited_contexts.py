"""Contexts that threads take over from the one that starts them: no request outlives itself there.

From 3.14 on a thread may inherit the context of its starter (`-X thread_inherit_context=1`, the
default of free-threaded builds); before that, it is copied by hand, or by `asyncio.to_thread()`.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Endless, give, in_process, in_thread, reached, say
from tests.edges.parts import QUICK, is_gone, start
from tests.middleware.wsgi import serve
from wsgi_async import (
    AsyncLoopMiddleware,
    async_to_sync,
    get_or_create_loop_manager,
    loop_from,
    loop_resource,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from types import FrameType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager


class Request:
    """What a framework keeps in a context variable while a request runs."""


current: contextvars.ContextVar[Any] = contextvars.ContextVar("current", default="empty")


@pytest.fixture(params=["as it comes", "inherited"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the child's threads inherit their starter's context."""
    if request.param == "inherited":
        if sys.version_info < (3, 14):
            pytest.skip("threads inherit no context before 3.14")
        monkeypatch.setenv("PYTHON_THREAD_INHERIT_CONTEXT", "1")


# -- deadlines -------------------------------------------------------------------------------------


def begin(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def begin_with_copy(target: Callable[[], None]) -> threading.Thread:
    context = contextvars.copy_context()
    return begin(lambda: context.run(target))


def child_deadline(how: str) -> None:
    """A thread that a request begins goes on after it, and after its deadline."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    managers: list[AsyncioLoopManager] = []

    def work() -> None:
        reached(over)
        try:
            say(managers[0].run(give("run")))
            say(managers[0].run(give("run with a timeout"), timeout=LIMIT))
            say(str(managers[0].submit_task(give("sync future"), True).result()))
            say(str(list(managers[0].iterate(numbers()))))
            own = start()
            say(own.run(give("own manager")))
            say(async_to_sync(give)("async_to_sync"))
            own.stop()
        except BaseException as error:
            say(repr(error))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        managers.append(loop_from(environ))
        scope_from(environ).timeout(QUICK)
        threads.append({"start": begin, "copy": begin_with_copy}[how](work))
        with pytest.raises(TimeoutError):
            loop_from(environ).run(Endless().wait())
        start_response("200 OK", [])
        return [b"ok"]

    assert serve(AsyncLoopMiddleware(app)) == b"ok"
    over.set()
    threads[0].join()


async def numbers() -> AsyncIterator[int]:
    yield 1
    yield 2


@pytest.mark.parametrize("how", ["start", "copy"])
@pytest.mark.usefixtures("_threads")
def test_a_deadline_ends_with_its_request(how: str) -> None:
    """A thread that was begun in a request is not bound by its deadline once that is over."""
    assert in_process(child_deadline, how, limit=15).splitlines() == [
        "run",
        "run with a timeout",
        "sync future",
        "[1, 2]",
        "own manager",
        "async_to_sync",
    ]


# -- what is kept ----------------------------------------------------------------------------------


@loop_resource
async def resource() -> AsyncIterator[int]:
    await asyncio.sleep(0)
    yield 1


def start_another(_: AsyncioLoopManager) -> None:
    get_or_create_loop_manager("another").start()


def end_a_stream(manager: AsyncioLoopManager) -> None:
    assert list(manager.iterate(numbers(), prefetch=1)) == [1, 2]


def submit(manager: AsyncioLoopManager) -> None:
    manager.submit_task(give(1)).result(LIMIT)
    manager.submit_task(give(1), True).result(LIMIT)


def in_vain(manager: AsyncioLoopManager) -> None:
    with pytest.raises(TimeoutError):
        manager.run(Endless().wait(), timeout=QUICK)


USES: dict[str, Callable[[AsyncioLoopManager], Any]] = {
    "nothing": lambda _: None,
    "run": lambda manager: manager.run(give(1)),
    "time out": in_vain,
    "submit": submit,
    "stream": end_a_stream,
    "resource": resource.get,
    "another manager": start_another,
    "async_to_sync": lambda _: async_to_sync(give)(1),
    "to_thread": lambda manager: manager.run(asyncio.to_thread(int)),
    "get_event_loop": lambda manager: manager.get_event_loop(),
}
"""What a worker thread's first request does with its manager."""


def child_keeps(use: str, reuse: bool) -> None:
    """Serve a first request, and look whether something of it stays while its manager runs on."""
    seen: list[weakref.ref[Request]] = []
    managers: list[AsyncioLoopManager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        managers.append(loop_from(environ))
        USES[use](managers[0])
        start_response("200 OK", [])
        return [b"ok"]

    wrapped = AsyncLoopMiddleware(app, reuse=reuse)

    def request() -> None:
        # As a tracing middleware outside does.
        request = Request()
        seen.append(weakref.ref(request))
        contextvars.copy_context().run(with_request, request)

    def with_request(request: Request) -> None:
        current.set(request)
        assert serve(wrapped) == b"ok"

    if reuse:
        in_thread(request)
    else:
        request()
    say("kept" if not is_gone(seen[0], within=2) else "gone")
    assert managers[0].running
    say(managers[0].run(give("runs on")))


@pytest.mark.parametrize("use", USES)
@pytest.mark.usefixtures("_threads")
def test_a_manager_does_not_keep_its_first_request(use: str) -> None:
    """The objects of the request that a manager was started in die with the request."""
    assert in_process(child_keeps, use, False, limit=15) == "gone\nruns on\n"


@pytest.mark.usefixtures("_threads")
def test_nor_does_one_that_waits_for_the_next_thread() -> None:
    """With `reuse=True` a manager that has lost its thread keeps nothing of its request either."""
    assert in_process(child_keeps, "run", True, limit=15) == "gone\nruns on\n"


# -- our own threads -------------------------------------------------------------------------------


def child_threads() -> None:
    """Note with what context each thread begins that the library starts."""
    found: dict[str, Any] = {}

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "run":
            sys.setprofile(None)
            found[threading.current_thread().name] = current.get()

    def use() -> None:
        manager = start()
        manager.run(give(1))
        submit(manager)
        end_a_stream(manager)
        resource.get(manager)
        manager.run(asyncio.to_thread(int))
        assert serve(AsyncLoopMiddleware(answer, reuse=True)) == b"ok"
        manager.stop()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        loop_from(environ).run(give(1))
        start_response("200 OK", [])
        return [b"ok"]

    threading.setprofile(look)
    current.set("a request")
    use()
    threading.setprofile(None)
    assert found
    for name, context in found.items():
        say(f"{name}: {context}")


@pytest.mark.usefixtures("_threads")
def test_our_threads_begin_in_an_empty_context() -> None:
    """Whatever thread the library starts, it sees no context variable of whoever caused that."""
    lines = in_process(child_threads, limit=15).splitlines()
    assert lines
    assert [line for line in lines if not line.endswith(": empty")] == []
