"""The log and the errors name coroutines, and never tell what they were called with."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import gc
import io
import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import BEGIN, Worker
from tests.security.parts import ticks
from wsgi_async import (
    AsyncioLoopManager,
    async_to_sync_future,
    loop_resource,
    run_in_calling_thread,
)
from wsgi_async.insight.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SECRET = "correct-horse-battery"


class Text(logging.Handler):
    """All that is logged by anybody, with tracebacks and stacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.write(self.format(record) + "\n")

    @property
    def text(self) -> str:
        return self._lines.getvalue()


@pytest.fixture
def logged() -> Iterator[Text]:
    root, handler = logging.getLogger(), Text()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture(params=["keeper", "resident"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A thread whose manager has a keeper, or whose loop lives on it."""
    with Worker("view", resident=request.param == "resident") as worker:
        yield worker


async def failing(password: str) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("it failed")


async def stubborn(password: str, end: threading.Event) -> None:
    """It does not let itself be canceled."""
    while not end.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.005)


async def leaving_a_task(password: str, end: threading.Event) -> None:
    asyncio.get_running_loop().kept = asyncio.create_task(stubborn(password, end))  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def numbers(password: str, end: threading.Event) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await stubborn(password, end)


def test_the_log_of_coroutines_that_go_wrong_has_no_arguments(worker: Worker, logged: Text) -> None:
    """Failed, timed out, cut off, left behind and slow: the log has names, but no arguments."""
    end = threading.Event()

    @loop_resource
    async def client() -> AsyncIterator[str]:
        yield SECRET
        await failing(SECRET)

    def work() -> None:
        loop = AsyncioLoopManager(grace=0.01, debug=True)
        loop.start()
        # asyncio logs each step, with the arguments of callbacks.
        loop.get_event_loop().slow_callback_duration = 0
        loop.submit_task(failing(SECRET))  # nobody retrieves it
        assert client.get(loop) == SECRET
        for call in (stubborn, leaving_a_task):
            with contextlib.suppress(TimeoutError):
                loop.run(call(SECRET, end), timeout=BEGIN)
        stream = loop.iterate(numbers(SECRET, end))
        assert next(stream) == 1
        asked = loop.submit_task(stubborn(SECRET, end))
        loop.stop(0.2)
        assert not asked.cancelled()
        end.set()
        del asked

    worker.call(work)
    gc.collect()
    for line in (
        *("submitted task failing", "stubborn did not end", "client failed to close"),
        *("left the task", "Executing <"),
    ):
        assert line in logged.text
    assert SECRET not in logged.text


def test_functions_that_fail_in_the_calling_thread_are_named_only(
    worker: Worker, logged: Text
) -> None:
    """Neither the error nor the log has what a function was given."""

    def check(password: str) -> None:
        raise RuntimeError("it failed")

    def work() -> str:
        with AsyncioLoopManager(debug=True) as loop:
            loop.submit_task(run_in_calling_thread(check, SECRET))  # no thread waits for it
            try:
                loop.run(run_in_calling_thread(check, SECRET))
            except RuntimeError as error:
                return "".join(traceback.format_exception(error))
        raise AssertionError

    seen = worker.call(work)
    gc.collect()
    assert "it failed" in seen
    assert "run_in_calling_thread" in logged.text
    assert SECRET not in seen + logged.text


# -- the library's own errors ----------------------------------------------------------------------


def _refusals(loop: AsyncioLoopManager) -> dict[str, Callable[[], Any]]:
    """What is refused with an argument or a result in it."""
    future = concurrent.futures.Future[str]()
    future.set_result(SECRET)

    async def done() -> asyncio.Future[str]:
        made = asyncio.get_running_loop().create_future()
        made.set_result(SECRET)
        return made

    asyncio_future = loop.run(done())
    partial = functools.partial(failing, SECRET)
    run: Any = loop.run
    iterate: Any = loop.iterate
    wrap: Any = loop.wrap_async_context_manager
    resource: Any = loop_resource
    return {
        "run: a result": lambda: run(SECRET),
        "run: a partial": lambda: run(partial),
        "run: a future": lambda: run(future),
        "run: asyncio's future": lambda: run(asyncio_future),
        "run: an async generator": lambda: run(ticks()),
        "submit_task: a result": lambda: loop.submit_task(SECRET),  # type: ignore[arg-type]
        "iterate: a list": lambda: iterate([SECRET]),
        "wrap: a list": lambda: wrap([SECRET]),
        "async_to_sync_future: a result": lambda: async_to_sync_future(SECRET),  # type: ignore[arg-type]
        "loop_resource: a list": lambda: resource([SECRET]),
    }


@pytest.mark.parametrize(
    "what",
    [
        *("run: a result", "run: a partial", "run: a future", "run: asyncio's future"),
        *("run: an async generator", "submit_task: a result", "iterate: a list"),
        *("wrap: a list", "async_to_sync_future: a result", "loop_resource: a list"),
    ],
)
def test_an_error_says_what_kind_of_value_was_wrong_and_not_its_contents(what: str) -> None:
    """A password that is passed by mistake, or a function with one, is not in the error's text."""
    with AsyncioLoopManager() as loop, pytest.raises(TypeError) as raised:
        _refusals(loop)[what]()
    assert SECRET not in str(raised.value)


@dataclasses.dataclass
class Session:
    """An SDK's session, as an object that is entered and iterated, with a password in its repr."""

    password: str

    async def __aenter__(self) -> str:
        return self.password

    async def __aexit__(self, *exc_info: object) -> None:
        await failing(self.password)

    async def __aiter__(self) -> AsyncIterator[int]:
        yield 1
        await failing(self.password)


def test_objects_are_named_after_their_type(worker: Worker, logged: Text) -> None:
    """A client, a stream or a bound factory is named, and what it was made with is not."""
    client = loop_resource(functools.partial(Session, SECRET))
    shown: list[str] = []

    def work() -> None:
        loop = AsyncioLoopManager(grace=0.01)
        loop.start()
        assert client.get(loop) == SECRET
        items = loop.iterate(Session(SECRET))
        assert next(items) == 1
        shown.append(repr(take_snapshot()))
        entered = loop.wrap_async_context_manager(Session(SECRET))
        with pytest.raises(RuntimeError, match="it failed"), entered:
            pass
        loop.stop()
        del items

    worker.call(work)
    gc.collect()
    assert "the loop resource Session failed to close" in logged.text
    assert "'name': 'Session'" in shown[0]
    assert SECRET not in logged.text + shown[0]
