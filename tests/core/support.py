"""The threads, processes and coroutines that the core's tests are made of."""

from __future__ import annotations

import asyncio
import concurrent.futures
import faulthandler
import functools
import inspect
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

import wsgi_async
from wsgi_async import LoopThreadPoolExecutor, SyncFuture
from wsgi_async.core.runners.resident import current_seat

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

LIMIT = 20.0
"""Seconds after which whatever a test waits for has failed; no test waits for it to pass."""

BEGIN = 0.3
"""Seconds. For a time limit that is to hit a coroutine at work, on a busy machine too."""

# A child imports the package that the tests run against, and the tests themselves.
_PATH = [str(Path(wsgi_async.__file__).parents[1]), str(Path(__file__).parents[2])]


# -- threads -----------------------------------------------------------------------------------


class Worker:
    """A thread that runs what it is given, as a WSGI server's do. Lives until `end()`.

    Args:
        name: The thread's name.
        resident: It is a thread of a `LoopThreadPoolExecutor`: the first manager that it starts
            lives on it, and its loop turns when the thread has nothing else to do.
    """

    def __init__(self, name: str = "worker", *, resident: bool = False) -> None:
        thread = _PoolThread if resident else _PlainThread
        self._thread: _PlainThread | _PoolThread = thread(name)
        self.thread = self._thread.thread

    def begin(
        self, fn: Callable[..., T], *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        """Run a function in the thread; what comes of it is in the future."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            nonlocal fn, args, kwargs
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
            finally:
                del fn, args, kwargs

        self._thread.put(call)
        return future

    def call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function in the thread, and return or raise what it did."""
        return outcome(self.begin(fn, *args, **kwargs))

    def end(self) -> None:
        """Let the thread end when it has done what it was given, and wait for it."""
        self._thread.put(None)
        ended(self.thread)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.end()
        else:
            self._thread.put(None)  # the error says more than a thread that hangs because of it


class _PlainThread:
    """A thread that waits for its calls at a queue."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self.thread.start()
        self.put = self._calls.put

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # keeps nothing of it alive while it waits for the next


class _PoolThread:
    """The one thread of a pool, which waits for its calls in the loop that lives on it."""

    def __init__(self, name: str) -> None:
        self._pool = LoopThreadPoolExecutor(1, name, own_managers=False)
        self.thread = self._pool.submit(threading.current_thread).result(LIMIT)

    def put(self, call: Callable[[], None] | None) -> None:
        if call is None:
            self._pool.shutdown(wait=False)
        else:
            self._pool.submit(call)


def outcome(future: concurrent.futures.Future[T]) -> T:
    """What a future returns or raises; fails, with all stacks, where it would hang."""
    if not _loop_lives_here():
        concurrent.futures.wait([future], LIMIT)
    wait_until(future.done, "it hangs")
    return future.result()


def fail_with_stacks(what: str) -> NoReturn:
    """Fail the test, with the stacks of all threads in its report."""
    faulthandler.dump_traceback(sys.__stderr__ or 2)
    pytest.fail(f"{what} (after {LIMIT} seconds)")


def in_thread(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a function in a thread of its own; return or raise what it did once that has ended."""
    with Worker("in_thread") as worker:
        return worker.call(fn, *args, **kwargs)


def with_the_ident_of(ended: int, fn: Callable[[], T]) -> T:
    """Run a function in a thread that the system has given an ended thread's ident."""
    for _ in range(20):
        # Many at once: the system hands out what is free in an order of its own.
        workers = [Worker() for _ in range(30)]
        heirs = [worker for worker in workers if worker.thread.ident == ended]
        results = [worker.call(fn) for worker in heirs]
        for worker in workers:
            worker.end()
        if results:
            return results[0]
    pytest.skip("the system does not reuse idents")


runner = "keeper"
"""What runs the manager of a test's own thread; the fixture of this name sets it."""


def on_worker(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a thread of its own, as a view.

    A test with `make_manager` or `loop_factory` runs twice, as the fixture `runner` has it: in a
    plain thread, whose manager has a keeper, and in one that its manager's loop lives on.
    """

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with Worker("view", resident=runner == "resident") as worker:
            worker.call(test, **fixtures)

    uses_managers = {"make_manager", "loop_factory"} & set(inspect.signature(test).parameters)
    run.__dict__["on_both_runners"] = bool(uses_managers)
    return run


def on_plain_worker(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a plain thread of its own, once: it is about keepers alone."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        in_thread(test, **fixtures)

    return run


def reached(event: threading.Event) -> None:
    """Wait for an event that has to come."""
    if not _loop_lives_here():
        event.wait(LIMIT)
    wait_until(event.is_set, "the event did not come")


def ended(thread: threading.Thread) -> bool:
    """Wait for a thread that has to end."""
    if not _loop_lives_here():
        thread.join(LIMIT)
    wait_until(lambda: not thread.is_alive(), f"{thread.name} did not end")
    return True


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look at a condition that nothing announces until it holds.

    A loop that lives on this thread goes on meanwhile.
    """
    future: SyncFuture[None] = SyncFuture()
    wait: Callable[[float], object] = future.wait if _loop_lives_here() else threading.Event().wait
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            fail_with_stacks(what)
        wait(0.005)


def _loop_lives_here() -> bool:
    """Whether this thread would keep its own loop from turning if it blocked."""
    seat = current_seat()
    return seat is not None and seat.runner is not None and _running_loop() is None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def our_log(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What the library itself has logged, from a level on."""
    records = [one for one in caplog.records if one.name.split(".")[0] == "wsgi_async"]
    return [one.getMessage() for one in records if one.levelno >= level]


# -- processes ---------------------------------------------------------------------------------


def in_process(fn: Callable[..., object], *args: object, limit: float = 30.0) -> str:
    """Run a test module's function in the main thread of a process of its own; what it printed.

    Fails if the process fails, outlives the limit, or writes anything to stderr, where warnings,
    tracebacks and (without handlers) the log go.
    """
    out, err, status = run_process(fn, *args, limit=limit)
    assert (status, err) == (0, ""), out + err
    return out


def say(line: str) -> None:
    """Print a line in one piece, whichever thread or process is speaking."""
    os.write(1, f"{line}\n".encode())


def run_process(
    fn: Callable[..., object], *args: object, limit: float = 30.0
) -> tuple[str, str, int]:
    """As `in_process`, whatever comes of it: stdout, stderr and the exit status."""
    call = f"from {fn.__module__} import {fn.__name__} as child; child(*{args!r})"
    return _run(call, fn.__name__, limit)


def run_code(code: str, *, limit: float = 30.0) -> str:
    """As `in_process`, for code that has to run before the library is imported."""
    out, err, status = _run(code, "the script", limit)
    assert (status, err) == (0, ""), out + err
    return out


def _run(code: str, name: str, limit: float) -> tuple[str, str, int]:
    path = os.pathsep.join(filter(None, [*_PATH, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # To it and to what it has forked; in development mode each writes its stacks first.
        # (Not faulthandler's timer, which a forked child would wait for, in vain.)
        os.killpg(process.pid, signal.SIGABRT)
        out, err = process.communicate()
        pytest.fail(f"{name} outlived {limit} seconds\n{out}{err}")
    except BaseException:  # the test's own time is over
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return out, without_slowness(err), process.returncode


def without_slowness(err: str) -> str:
    """What a process wrote to stderr, but for asyncio's complaints of a machine that is busy."""
    return re.sub(r"^Executing <.* took [\d.]+ seconds\n", "", err, flags=re.MULTILINE)


# -- coroutines --------------------------------------------------------------------------------


async def give(value: T) -> T:
    """Return a value, after a turn of the loop."""
    await asyncio.sleep(0)
    return value


async def throw(error: BaseException) -> NoReturn:
    """Raise an error, after a turn of the loop."""
    await asyncio.sleep(0)
    raise error


async def where() -> threading.Thread:
    """The thread that steps this coroutine."""
    await asyncio.sleep(0)
    return threading.current_thread()


class Endless:
    """A coroutine without an end, and what became of it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.cleaned = threading.Event()  # its `finally` block has run to its end
        self.threads: set[int] = set()

    async def wait(self) -> NoReturn:
        """Wait for ever; needs a turn of the loop for its cleanup."""
        self.threads.add(threading.get_ident())
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            self.threads.add(threading.get_ident())
            self.cleaned.set()
        raise AssertionError("its future has no end")


class Stubborn:
    """A coroutine that refuses to be cancelled, until it is released."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.refused = threading.Event()
        self._release: asyncio.Event
        self._loop: asyncio.AbstractEventLoop

    async def wait(self) -> str:
        """Wait for the release, whoever cancels."""
        self._release, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self.began.set()
        while not self._release.is_set():
            try:
                await self._release.wait()
            except asyncio.CancelledError:
                self.refused.set()
        return "released"

    def release(self) -> None:
        """Let it end; from any thread."""
        self._loop.call_soon_threadsafe(self._release.set)
