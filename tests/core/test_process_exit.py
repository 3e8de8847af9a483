"""The end of the process: every manager is stopped, after the last request and in a given time."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import sys
import threading
from typing import Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    in_thread,
    reached,
    run_code,
    run_process,
    say,
)
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager


def started(id: Any = None, loop: str = "asyncio") -> AsyncioLoopManager:
    options: dict[str, Any] = {}
    if loop == "uvloop":
        import uvloop

        options["loop_factory"] = uvloop.new_event_loop
    manager = AsyncioLoopManager(id, **options)
    manager.start()
    return manager


async def say_at_the_end(began: threading.Event, word: str) -> None:
    try:
        began.set()
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        say(word)


def child_ends(how: str, loop: str) -> None:
    """A task runs as the main thread ends, in one way or another."""
    began = threading.Event()
    manager = started(loop=loop)
    manager.run(give(1))
    manager.submit_task(say_at_the_end(began, "cleaned up"))
    reached(began)
    if how == "exit":
        sys.exit()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["end", "exit"])
def test_cleanup_runs(how: str, loop: str) -> None:
    """A coroutine's `finally` block runs when the process ends, and nothing is complained of."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    assert in_process(child_ends, how, loop) == "cleaned up\n"


def child_fails() -> None:
    began = threading.Event()
    started().submit_task(say_at_the_end(began, "cleaned up"))
    reached(began)
    raise LookupError("the main thread's")


def test_cleanup_runs_after_a_failure() -> None:
    """It does so too when an exception ends the main thread, and the exit status stays."""
    out, err, status = run_process(child_fails)
    assert out == "cleaned up\n"
    assert status == 1
    assert err.rstrip().endswith("LookupError: the main thread's")


def child_with_live_workers() -> None:
    """Daemon threads with managers wait for requests as the process ends."""
    began = [threading.Event() for _ in range(3)]
    for number in range(3):
        worker = Worker()
        manager = worker.call(started)
        worker.call(manager.submit_task, say_at_the_end(began[number], "cleaned up"))
        reached(began[number])


def test_managers_of_threads_that_still_run() -> None:
    """Managers of daemon threads are stopped as well."""
    assert in_process(child_with_live_workers) == "cleaned up\n" * 3


def child_with_a_request_under_way() -> None:
    """A request still runs in a thread that is no daemon when the main thread ends."""
    began = threading.Event()

    def request() -> None:
        manager = get_or_create_loop_manager("mine")
        manager.start()
        manager.submit_task(say_at_the_end(began, "the background task is cleaned up"))
        reached(began)
        threading.main_thread().join()
        say("run() gives " + manager.run(give("page")))
        say("submit_task() gives " + manager.submit_task(give("page"), True).result())

    threading.Thread(target=request).start()
    reached(began)


def test_never_under_a_request_that_runs() -> None:
    """A request that is under way ends as it would have, and only then its manager is stopped."""
    assert in_process(child_with_a_request_under_way).splitlines() == [
        "run() gives page",
        "submit_task() gives page",
        "the background task is cleaned up",
    ]


def child_all_at_once(count: int) -> None:
    """Each manager's cleanup waits for all the others' to have begun."""
    meeting = threading.Barrier(count)
    tasks = [threading.Event() for _ in range(count)]

    async def meet(began: threading.Event) -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            meeting.wait(5)
            say("met")

    for number, began in enumerate(tasks):
        started(number).submit_task(meet(began))
        reached(began)


def test_all_managers_at_the_same_time() -> None:
    """All are told to stop before any is waited for, so many managers take no longer than one."""
    assert in_process(child_all_at_once, 12) == "met\n" * 12


def child_executor() -> None:
    """The default executor has threads when the process ends, and a cleanup that would like one."""
    began = threading.Event()
    manager = started()
    manager.run(asyncio.to_thread(int))

    async def use_a_thread() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            with contextlib.suppress(RuntimeError):
                await asyncio.to_thread(int)
            say("cleaned up")

    manager.submit_task(use_a_thread())
    reached(began)


def test_an_executor_at_the_end() -> None:
    """An executor in use does not get in the way: no thread is started any more, none is missed."""
    assert in_process(child_executor) == "cleaned up\n"


def child_in_atexit() -> None:
    """Other exit hooks use managers, before and after ours."""
    manager = started("used at the exit")

    def early() -> None:
        print(manager.run(give("before")))

    atexit.register(early)


def test_other_exit_hooks() -> None:
    """An exit hook that was registered after the import can still use its manager."""
    assert in_process(child_in_atexit) == "before\n"


def child_waiting() -> None:
    """A daemon thread waits for a result that never comes when the process ends."""
    task = Endless()
    manager = started()
    worker = Worker()
    told = threading.Event()

    def wait() -> None:
        with pytest.raises(RuntimeError, match="stopped"):
            manager.run(task.wait())
        told.set()

    worker.begin(wait)
    reached(task.began)
    after_our_hook.append(lambda: say("told" if told.wait(LIMIT) else "not told"))


after_our_hook: list[Any] = []


def test_threads_that_wait() -> None:
    """A thread that waits for a manager when the process ends is told, and does not hang."""
    code = (  # exit hooks run in the reverse order of their registration
        "import atexit\n"
        "atexit.register(lambda: [hook() for hook in tests.after_our_hook])\n"
        "import tests.core.test_process_exit as tests\n"
        "tests.child_waiting()\n"
    )
    assert run_code(code) == "told\n"


def child_refuses() -> None:
    """A coroutine refuses to end with the process."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    stubborn, other = Stubborn(), threading.Event()
    manager = started("stubborn")
    manager.submit_task(stubborn.wait())
    manager.submit_task(say_at_the_end(other, "cleaned up"))
    reached(stubborn.began)
    reached(other)


@pytest.mark.slow
def test_a_task_that_refuses() -> None:
    """A coroutine that refuses to end is named, and the process ends all the same."""
    out, _, status = run_process(child_refuses, limit=40)
    assert status == 0
    assert "cleaned up\n" in out
    assert "Stubborn.wait" in out


def child_without_managers(which: str) -> None:
    """Managers that were stopped, never started, or collected are no concern of the exit."""
    if which == "stopped":
        started().stop()
    elif which == "new":
        get_or_create_loop_manager("mine")
    elif which == "thread's":
        in_thread(started)
    elif which == "restarted":
        manager = started()
        manager.stop()
        manager.start()


@pytest.mark.parametrize("which", ["none", "stopped", "new", "thread's", "restarted"])
def test_nothing_much_to_do(which: str) -> None:
    """A process with little or nothing to stop ends without a word."""
    assert in_process(child_without_managers, which) == ""


def child_with_futures() -> None:
    """Futures that are done, failed or pending are still held when the interpreter ends."""
    global kept
    manager = started()
    kept = [
        manager.submit_task(give(1)),
        manager.submit_task(give(1), True),
        manager.submit_task(Endless().wait()),
        manager.submit_task(Endless().wait(), True),
    ]
    concurrent.futures.wait(kept[:1], LIMIT)


kept: list[Any] = []


def test_futures_that_are_still_held() -> None:
    """Futures in a module's globals do not disturb the interpreter's end."""
    assert in_process(child_with_futures) == ""
