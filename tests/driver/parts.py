"""Threads, managers and coroutines for the tests of the driver."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tests.core.support import without_slowness
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_async.core.seam import Seam

P = ParamSpec("P")
T = TypeVar("T")

LIMIT = 20.0
"""Seconds after which a wait counts as hung; reached by failures only."""

FAR = 600.0
"""A linger that no test lives to see: what is served within `LIMIT` was not served by it."""


class Worker:
    """A thread that runs what it is given, one after another, as a server's worker does.

    A daemon: a test that hangs fails, and leaves nothing that the process has to wait for.
    """

    def __init__(self, name: str = "worker") -> None:
        self._todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()
        assert self.thread.ident is not None
        self.ident = self.thread.ident

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            work()
            del work

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have the thread call something soon."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._todo.put(work)
        return future

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the thread call something, and wait for it."""
        return self.submit(fn, *args, **kwargs).result(LIMIT)

    def end(self) -> None:
        """Let the thread end, and wait for that."""
        self._todo.put(None)
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), f"{self.thread.name} hangs"


def make(seam: Seam | None = None, **options: Any) -> AsyncioLoopManager:
    """A started manager of the current thread, with a seam of the test's own if need be."""
    manager = AsyncioLoopManager(**options)
    if seam is not None:
        manager.life._seam = seam
    manager.start()
    return manager


@contextmanager
def started(
    worker: Worker, seam: Seam | None = None, **options: Any
) -> Iterator[AsyncioLoopManager]:
    """A manager of a worker's thread, stopped at the end."""
    manager = worker.call(make, seam, **options)
    try:
        yield manager
    finally:
        manager.stop(LIMIT / 2)
    assert manager.state == "stopped"


def keeper_of(manager: AsyncioLoopManager) -> int:
    """The ident of the manager's keeper."""
    keeper = manager.life._keeper
    assert keeper is not None
    assert keeper.thread is not None
    assert keeper.thread.ident is not None
    return keeper.thread.ident


def until(condition: Callable[[], bool]) -> None:
    """Poll what no event tells of."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0)  # lets another thread run, no more


async def value(result: T) -> T:
    """A coroutine that is done in its first step."""
    return result


async def steps(count: int = 5) -> list[int]:
    """The threads that take the steps of this coroutine, in order."""
    threads = [threading.get_ident()]
    for _ in range(count - 1):
        await asyncio.sleep(0)
        threads.append(threading.get_ident())
    return threads


class Door:
    """A coroutine waits at it, without blocking its loop, until a thread opens it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.threads: list[int] = []  # who stepped the coroutine before and after
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    async def walk(self) -> list[int]:
        """Wait until it is open; return the threads before and after."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self.threads.append(threading.get_ident())
        self.reached.set()
        await self._event.wait()
        self.threads.append(threading.get_ident())
        return self.threads

    def await_reached(self) -> None:
        """Block until the coroutine is at the door."""
        assert self.reached.wait(LIMIT)

    def open(self) -> None:
        """Let the coroutine through; from any thread."""
        assert self._loop is not None
        assert self._event is not None
        self._loop.call_soon_threadsafe(self._event.set)


class Plug:
    """A callback that blocks whoever runs the loop, until it is pulled."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self._reached = threading.Event()
        self._pulled = threading.Event()

    def __call__(self) -> None:
        self.thread = threading.get_ident()
        self._reached.set()
        self._pulled.wait(LIMIT)

    def await_reached(self) -> None:
        """Block until the loop is blocked."""
        assert self._reached.wait(LIMIT)

    def pull(self) -> None:
        """Let the loop go on."""
        self._pulled.set()


def child(code: str, *args: str, seconds: float = 60) -> str:
    """Run code in a Python of its own, which is killed if it hangs; what it printed.

    It fails unless it ends with status 0 and nothing on stderr.
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-X", "faulthandler", "-c", code, *args],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root),)))},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert (done.returncode, without_slowness(done.stderr)) == (0, ""), done.stderr + done.stdout
    return done.stdout
