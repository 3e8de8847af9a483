"""Sync functions of SDKs on the manager's loop, by what they do to the loop that they find."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import threading
import warnings
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    on_worker,
    our_log,
    reached,
    throw,
    wait_until,
)
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import running_loop, serve
from tests.sdks.stand_ins import (
    PydanticAIStream,
    llama_index_asyncio_run,
    openai_agents_run_sync,
    pydantic_ai_run_sync,
)
from wsgi_async import loop_from, run_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from wsgiref.types import WSGIEnvironment

    RunSync = Callable[[Coroutine[Any, Any, Any]], Any]

RUN_SYNC = [pydantic_ai_run_sync, openai_agents_run_sync, llama_index_asyncio_run]
every_sdk = pytest.mark.parametrize("run_sync", RUN_SYNC)
TASKS = RUN_SYNC[:2]
"""Those that make a task and wait for it."""


@pytest.fixture(autouse=True)
def _no_new_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK that makes a loop of its own fails."""
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: pytest.fail("made a loop"))


def request(view: Callable[[WSGIEnvironment], object], **options: Any) -> None:
    """Serve one request to a view, with the option on."""

    def app(environ: WSGIEnvironment) -> list[bytes]:
        view(environ)
        return [b"ok"]

    assert serve(app_of(app, adopt=True, debug=True, **options)) == b"ok"


@every_sdk
@pytest.mark.parametrize("per", ["thread", "process"])
@on_worker
def test_it_runs_on_the_loop_that_stays(per: str, run_sync: RunSync) -> None:
    """Each call of each request has the manager's loop."""
    loops: set[object] = set()

    def view(environ: WSGIEnvironment) -> None:
        loops.add(loop_from(environ).get_event_loop())
        for _ in range(2):
            loops.add(run_sync(running_loop()))

    for _ in range(2):
        request(view, id=f"sdk per {per}", per=per)
    assert len(loops) == 1


@every_sdk
@on_worker
def test_errors_come_out(run_sync: RunSync) -> None:
    """What the coroutine raises leaves the sync function as it is."""

    def view(environ: WSGIEnvironment) -> None:
        with pytest.raises(LookupError, match="theirs"):
            run_sync(throw(LookupError("theirs")))

    request(view)


@every_sdk
@on_worker
def test_the_requests_deadline_ends_it(run_sync: RunSync) -> None:
    """A call that takes too long is canceled in order, in the SDK's own cleanup too."""

    def view(environ: WSGIEnvironment) -> None:
        slow = Endless()
        with pytest.raises(TimeoutError, match="request's deadline"):
            run_sync(slow.wait())
        assert slow.cleaned.is_set()

    request(view, timeout=0.1)


@every_sdk
@on_worker
def test_context_variables_are_those_of_the_caller(run_sync: RunSync) -> None:
    """A coroutine that an SDK makes a task of sees what its caller has set."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def read() -> str:
        return variable.get()

    def view(environ: WSGIEnvironment) -> None:
        variable.set("the request's")
        assert run_sync(read()) == "the request's"

    request(view)


@every_sdk
@on_worker
def test_sync_code_of_the_coroutine_runs_on_the_requests_thread(run_sync: RunSync) -> None:
    """A tool that needs the thread's database connection has it."""

    def view(environ: WSGIEnvironment) -> None:
        here = run_in_calling_thread(threading.get_ident)
        assert run_sync(here) == threading.get_ident()

    request(view)


@pytest.mark.parametrize("run_sync", TASKS)
@on_worker
def test_an_interrupted_wait_ends_its_task(
    run_sync: RunSync, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the SDK cancels from the request's thread ends at once, in debug mode too."""

    def view(environ: WSGIEnvironment) -> None:
        loop: Any = asyncio.get_event_loop()
        slow, wait_for = Endless(), type(loop).run_until_complete

        def interrupt(self: Any, future: Any) -> Any:
            monkeypatch.setattr(type(loop), "run_until_complete", wait_for)
            reached(slow.began)
            raise KeyboardInterrupt

        monkeypatch.setattr(type(loop), "run_until_complete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sync(slow.wait())
        assert slow.cleaned.is_set()

    request(view)
    assert our_log(caplog) == []


@on_worker
def test_other_streams_go_on() -> None:
    """An SDK that flushes the loop's async generators does not end those of others."""
    closed = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            closed.set()

    def view(environ: WSGIEnvironment) -> None:
        with loop_from(environ).iterate(numbers()) as items:
            assert next(items) == 0
            openai_agents_run_sync(give(1))
            asyncio.get_event_loop().run_until_complete(
                asyncio.get_event_loop().shutdown_default_executor()
            )
            assert not closed.is_set()
            assert list(items) == [1, 2]
        assert loop_from(environ).run(asyncio.to_thread(int, "3")) == 3

    request(view)


class Completion:
    """What an SDK streams from, and whether it was closed in its own task."""

    closed = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[int]]:
        task = asyncio.current_task()

        async def items() -> AsyncIterator[int]:
            for number in range(3):
                await asyncio.sleep(0)
                yield number

        try:
            yield items()
        finally:
            self.closed = "own task" if asyncio.current_task() is task else "other task"


@on_worker
def test_a_stream_in_sync_code(caplog: pytest.LogCaptureFixture) -> None:
    """Its items arrive, and its end wakes the loop at once, in debug mode too."""
    completion = Completion()

    def view(environ: WSGIEnvironment) -> None:
        with PydanticAIStream(completion.open()) as stream:
            assert list(stream) == [0, 1, 2]

    request(view)
    assert completion.closed == "own task"
    assert our_log(caplog) == []


@on_worker
def test_a_stream_after_the_deadline() -> None:
    """What has been opened is closed, also when the request's time is over."""
    completion = Completion()

    def view(environ: WSGIEnvironment) -> None:
        stream = PydanticAIStream(completion.open())
        with pytest.raises(TimeoutError), stream:
            loop_from(environ).run(Endless().wait())

    request(view, timeout=0.2)
    wait_until(lambda: completion.closed == "own task", "the stream is closed")


@pytest.mark.parametrize("where", ["its thread", "another", "the loop"])
@on_worker
def test_a_stream_that_is_dropped(where: str) -> None:
    """The collector finds it on whichever thread, and it is closed in its own task."""
    completion = Completion()

    def view(environ: WSGIEnvironment) -> None:
        streams = [PydanticAIStream(completion.open())]

        def drop() -> None:
            streams.clear()
            gc.collect()

        async def drop_there() -> None:
            drop()

        if where == "its thread":
            drop()
        elif where == "another":
            with Worker() as other:
                other.call(drop)
        else:
            loop_from(environ).run(drop_there())
        wait_until(lambda: completion.closed == "own task", "the stream is closed")

    request(view)


@on_worker
def test_the_loop_is_kept_beyond_the_request() -> None:
    """An SDK that keeps the loop it found sees that it is closed when the manager was stopped."""
    kept: list[asyncio.AbstractEventLoop] = []

    def view(environ: WSGIEnvironment) -> None:
        kept.append(asyncio.get_event_loop())
        assert not kept[0].is_closed()
        loop_from(environ).stop()

    request(view, id="kept")
    assert kept[0].is_closed()
    coro = give(1)
    with pytest.raises(RuntimeError, match="stopped"):
        kept[0].create_task(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


@on_worker
def test_futures_of_sync_code() -> None:
    """What sync code fills or cancels is seen on the loop at once."""

    def view(environ: WSGIEnvironment) -> None:
        loop = asyncio.get_event_loop()

        async def wait(future: asyncio.Future[Any]) -> Any:
            began.set()
            return await future

        for fill, expected in (
            (lambda future: future.set_result(1), 1),
            (lambda future: future.set_exception(LookupError("theirs")), LookupError),
            (lambda future: future.cancel(), asyncio.CancelledError),
        ):
            began, future = threading.Event(), loop.create_future()
            task = loop.create_task(wait(future))
            assert began.wait(LIMIT)
            fill(future)
            if expected == 1:
                assert loop.run_until_complete(task) == 1
                with pytest.raises(asyncio.InvalidStateError):
                    future.set_result(2)
            else:
                with pytest.raises(expected):  # type: ignore[arg-type]
                    loop.run_until_complete(task)
        called = threading.Event()
        loop.call_soon(called.set)
        assert called.wait(LIMIT)

    request(view)


@on_worker
def test_a_task_that_nobody_waits_for_finds_the_requests_thread() -> None:
    """What it asks for is done before the request's code is left; after that, no thread does it."""
    ran: list[int] = []
    tasks: list[asyncio.Task[None]] = []
    late = threading.Event()

    async def ask() -> None:
        await run_in_calling_thread(lambda: ran.append(threading.get_ident()))
        await asyncio.to_thread(late.wait, LIMIT)
        await run_in_calling_thread(print)

    def view(environ: WSGIEnvironment) -> None:
        loop: Any = asyncio.get_event_loop()
        tasks.append(loop.create_task(ask()))
        if loop_from(environ)._life.resident:
            loop_from(environ).run(asyncio.sleep(0))  # its loop stands still otherwise
        wait_until(lambda: bool(loop._thread._asked or ran), "it asks")

    request(view)
    assert ran == [threading.get_ident()]
    late.set()
    wait_until(tasks[0].done, "the task ends")
    assert isinstance(tasks[0].exception(), LookupError)


@on_worker
def test_in_a_coroutine_of_another_loop() -> None:
    """Where another loop runs, a task cannot be made by blocking that."""

    def view(environ: WSGIEnvironment) -> None:
        loop, coro = asyncio.get_event_loop(), give(1)

        async def elsewhere() -> None:
            with pytest.raises(RuntimeError, match=r"asyncio\.create_task"):
                loop.create_task(coro)

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(elsewhere())
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED

    request(view)


@on_worker
def test_futures_that_asyncio_makes_for_sync_code() -> None:
    """`ensure_future()`, `gather()` and `wrap_future()` work in sync code."""

    def view(environ: WSGIEnvironment) -> None:
        loop: Any = asyncio.get_event_loop()
        task = loop.create_task(give(1))
        assert task.get_loop() is loop
        assert asyncio.ensure_future(task, loop=loop) is task
        assert loop.run_until_complete(task) == 1
        # It looks for the current loop by itself, and says that this is no way to begin.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            both = asyncio.gather(give(2), give(3), loop.create_task(give(4)))
        assert loop.run_until_complete(both) == [2, 3, 4]
        done: concurrent.futures.Future[int] = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(done, loop=loop)
        done.set_result(5)
        assert loop.run_until_complete(wrapped) == 5
        with pytest.raises(LookupError, match="theirs"):
            loop.run_until_complete(asyncio.gather(throw(LookupError("theirs"))))
        endless = Endless()
        with pytest.raises(TimeoutError):
            loop.run_until_complete(asyncio.gather(endless.wait()))
        wait_until(endless.cleaned.is_set, "it is canceled")

    request(view, timeout=0.5)


@on_worker
def test_a_stop_ends_the_tasks_of_sync_code() -> None:
    """In the request, too, whose code sees another loop than they have."""
    endless = Endless()

    def view(environ: WSGIEnvironment) -> None:
        asyncio.get_event_loop().create_task(endless.wait())
        manager = loop_from(environ)
        if manager._life.resident:
            manager.run(asyncio.sleep(0))  # its loop stands still otherwise
        reached(endless.began)
        manager.stop()
        assert endless.cleaned.is_set()

    request(view, id="stopped")
