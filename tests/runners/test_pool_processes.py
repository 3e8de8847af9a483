"""Pools and the life of their process: idle time, forks, and an end without a shutdown."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time

import pytest

from tests.core import forking
from tests.core.support import LIMIT, in_process, run_process, say
from wsgi_async import (
    AsyncioLoopManager,
    LoopThreadPoolExecutor,
    current_manager,
    get_or_create_loop_manager,
)
from wsgi_async.core.managers import process


async def clean_up_late(name: str) -> None:
    """A background task that says what it was, when it has cleaned up."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        say(f"{name} cleaned up")


def start_background() -> str:
    """In a thread of a pool: have a background task run."""
    manager = current_manager()
    manager.submit_task(clean_up_late(threading.current_thread().name))
    manager.run(asyncio.sleep(0))
    return manager.state


# -- idle --------------------------------------------------------------------------------------


def child_with_idle_threads() -> None:
    barrier = threading.Barrier(9)
    with LoopThreadPoolExecutor(8, own_managers=False) as pool:

        def begin() -> None:
            with_loop = current_manager()
            assert with_loop.run(asyncio.sleep(0, True))
            barrier.wait(LIMIT)

        for _ in range(8):
            pool.submit(begin)
        barrier.wait(LIMIT)
        while len(pool._crew._idle) < 8:
            threading.Event().wait(0.001)
        before = time.process_time()
        threading.Event().wait(1.5)  # what is measured, no synchronization
        say(f"{threading.active_count()} {time.process_time() - before:.6f}")


def test_idle_threads_cost_nothing() -> None:
    """Eight idle threads with a loop each have no other threads, and use no CPU."""
    threads, seconds = in_process(child_with_idle_threads).split()
    assert int(threads) == 9  # with the main thread
    assert float(seconds) < 0.02


# -- forks -------------------------------------------------------------------------------------


def use_child(pool: LoopThreadPoolExecutor, inherited: AsyncioLoopManager) -> None:
    """In a child process: everything of the parent's is refused, and a new manager works."""
    for call in (lambda: inherited.run(asyncio.sleep(0)), lambda: pool.submit(int)):
        with pytest.raises(RuntimeError, match="parent process"):
            call()
    pool.shutdown()
    with AsyncioLoopManager() as manager:
        assert manager.run(asyncio.sleep(0, "child")) == "child"
        assert manager.submit_task(asyncio.sleep(0, "task")).result(LIMIT) == "task"
    assert get_or_create_loop_manager() is not inherited
    with LoopThreadPoolExecutor(1) as own:
        assert own.submit(lambda: current_manager().run(asyncio.sleep(0, 1))).result(LIMIT) == 1


def child_that_forks(how: str) -> None:
    def fork() -> int:
        inherited = current_manager()
        inherited.submit_task(tick())
        inherited.run(asyncio.sleep(0))
        pid = forking.fork()
        if pid:
            return os.waitpid(pid, 0)[1]
        try:
            use_child(pool, inherited)
        except BaseException as error:
            say(repr(error))
            os._exit(1)
        if how == "exit":
            os._exit(0)
        return 0  # the thread ends, and with it the process

    ticks: list[None] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            ticks.append(None)

    with LoopThreadPoolExecutor(2) as pool:
        for _ in range(5):
            assert pool.submit(fork).result(LIMIT) == 0
        seen = len(ticks)
        while len(ticks) <= seen:
            assert pool.submit(lambda: current_manager().run(asyncio.sleep(0, 1))).result(LIMIT)
    say("parent goes on")


@pytest.mark.parametrize("how", ["exit", "return"])
def test_a_function_may_fork(how: str) -> None:
    """The child leaves the parent's loop alone, and the parent's threads notice nothing."""
    assert in_process(child_that_forks, how) == "parent goes on\n"


# -- the end -----------------------------------------------------------------------------------


def child_that_ends(how: str) -> None:
    pool = LoopThreadPoolExecutor(2, "pool")
    assert pool.submit(start_background).result(LIMIT) == "running"
    if how == "shutdown":
        pool.shutdown()
        say("shut down")
    elif how == "no wait":
        pool.shutdown(wait=False)
    elif how == "with":
        with pool:
            pool.submit(say, "in the block")
    atexit.register(say, "exit hooks")  # before ours, as it is registered after it


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shutdown", "pool_0 cleaned up\nshut down\nexit hooks\n"),
        ("with", "in the block\npool_0 cleaned up\nexit hooks\n"),
        ("not at all", "exit hooks\npool_0 cleaned up\n"),
    ],
)
def test_the_process_ends(how: str, said: str) -> None:
    """Background tasks clean up before the interpreter goes, also where nobody shuts down."""
    assert in_process(child_that_ends, how) == said


def test_the_process_ends_after_a_shutdown_that_does_not_wait() -> None:
    """What it has begun, the process's exit waits for."""
    said = in_process(child_that_ends, "no wait").splitlines()
    assert sorted(said) == ["exit hooks", "pool_0 cleaned up"]


def child_that_ends_with_queued_work() -> None:
    pool = LoopThreadPoolExecutor(1)
    gate = threading.Event()
    pool.submit(gate.wait, LIMIT)
    for number in range(20):
        pool.submit(say, f"{number}")
    atexit.register(gate.set)


def test_the_process_ends_with_work_queued() -> None:
    """What was taken is done before the interpreter goes."""
    assert in_process(child_that_ends_with_queued_work).split() == [str(n) for n in range(20)]


def child_that_ends_with_endless_work() -> None:
    vars(process)["STOP_TIMEOUT"] = 0.5
    pool = LoopThreadPoolExecutor(1, "pool")
    began = threading.Event()

    def endless() -> None:
        began.set()
        threading.Event().wait()

    pool.submit(endless)
    assert began.wait(LIMIT)
    say("ends")


def test_the_process_ends_with_work_that_does_not() -> None:
    """A function without an end holds the exit up for a bounded time, and the log tells."""
    out, err, status = run_process(child_that_ends_with_endless_work)
    assert (out, status) == ("ends\n", 0)
    assert "of thread 'pool_0' (resident, 0 in flight) did not stop in time" in err
