"""Signal handlers that raise in the waiting main thread; each test in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    reached,
    run_process,
    say,
    wait_until,
)
from wsgi_async import AsyncioLoopManager, CallerNotFound, run_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")


class SoftTimeLimit(Exception):
    """What a task queue's signal handler raises in the middle of a task."""


KINDS = {"interrupt": KeyboardInterrupt, "soft limit": SoftTimeLimit, "exit": SystemExit}


class Interrupts:
    """Makes a signal handler raise in the main thread; one for each process.

    Args:
        kind: What the handler raises.
        inside: Only while the main thread is in a function of this name.
    """

    def __init__(self, kind: type[BaseException] = KeyboardInterrupt, inside: str = "run") -> None:
        self._kind = kind
        self._inside = inside
        self._raised = threading.Event()
        signal.signal(signal.SIGINT, self._handle)

    def when(self, began: threading.Event) -> None:
        """Interrupt the main thread, once, when the event has come."""
        self._raised.clear()
        threading.Thread(target=self._send, args=(began,)).start()

    def _send(self, began: threading.Event) -> None:
        reached(began)
        os.kill(os.getpid(), signal.SIGINT)
        # It may have come too early; and CPython does not see one that comes in the moment in
        # which the main thread enters its wait, until there is another.
        while not self._raised.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)

    def _handle(self, _: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_name != self._inside:
            frame = frame.f_back
        if frame is not None and not self._raised.is_set():
            self._raised.set()
            raise self._kind


def started(loop: str = "asyncio", **options: Any) -> AsyncioLoopManager:
    if loop == "uvloop":
        import uvloop

        options["loop_factory"] = uvloop.new_event_loop
    manager = AsyncioLoopManager("main", **options)
    manager.start()
    return manager


def collected_log() -> list[str]:
    log: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append(record.getMessage())

    logging.getLogger("wsgi_async").addHandler(Handler())
    return log


def child_interrupted(how: str, loop: str, beside: bool) -> None:
    """The main thread waits in `run()`, alone or beside another task, and a handler raises."""
    manager, other = started(loop), Endless()
    if beside:
        manager.submit_task(other.wait())
        reached(other.began)
    interrupts = Interrupts(KINDS[how])
    for _ in range(10):
        task = Endless()
        interrupts.when(task.began)
        try:
            manager.run(task.wait())
        except KINDS[how]:
            assert task.cleaned.is_set(), "the coroutine had not cleaned up"
        else:
            raise AssertionError("nothing was raised")
        assert not other.cleaned.is_set(), "an innocent task was hit"
        assert manager.run(give("lives on")) == "lives on"
        assert manager.submit_task(give("lives on"), True).result() == "lives on"
    manager.stop()


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a task"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", KINDS)
def test_the_task_is_cancelled_and_the_exception_goes_on(how: str, loop: str, beside: bool) -> None:
    """Ctrl-C, a soft time limit or an exit hits the call that waits: cleaned up, then raised."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    in_process(child_interrupted, how, loop, beside)


def child_soft_limit_by_timer(how: str) -> None:
    """The alarm comes whenever it comes: from just before the call to well within it."""
    manager, innocent, log = started(), Endless(), collected_log()
    armed = False

    def handle(_: int, frame: FrameType | None) -> None:
        # What is raised in a weak reference's callback, as in a destructor, the interpreter only
        # prints. The timer comes again.
        if armed and (frame is None or frame.f_code.co_name != "_remove"):
            raise SoftTimeLimit

    signal.signal(signal.SIGALRM, handle)
    manager.submit_task(innocent.wait())
    reached(innocent.began)
    hit = 0
    for turn in range(300):
        task = Endless()
        coro = task.wait()
        try:
            armed = True
            # Again and again, for the alarm that CPython does not see (as above). Not so soon that
            # a second one cuts off the wait for the cleanup, on a machine that is busy.
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + turn * 2e-6, 2.0)
            if how == "run":
                manager.run(coro)
            else:
                manager.submit_task(coro)
                compute()
        except SoftTimeLimit:
            armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        begun = time.monotonic()
        assert manager.run(give(turn)) == turn
        assert time.monotonic() - begun < 4, "the loop had not been told"
        # What was handed in before has begun by now.
        if inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
            coro.close()  # the alarm was quicker than the call
        else:
            hit += 1
        if how == "run":
            assert task.cleaned.is_set() or not task.began.is_set(), turn
        assert not innocent.cleaned.is_set()
    manager.stop()
    assert hit > 100, hit
    print(log)


def compute() -> None:
    """Compute until the alarm comes: a wait that it interrupts would not always recover."""
    over = time.monotonic() + LIMIT
    while time.monotonic() < over:
        pass


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 14),
    reason="Python 3.14 keeps a lock for ever where a signal handler raises as `with` takes it",
)
@pytest.mark.timeout(100)
@pytest.mark.parametrize("how", ["run", "submit_task"])
def test_a_soft_time_limit_at_any_moment(how: str) -> None:
    """An alarm at whatever moment of a call loses no task and leaves the manager in order."""
    # An alarm that comes as the wait begins is seen half a second later.
    assert in_process(child_soft_limit_by_timer, how, limit=90) == "[]\n"


def child_refuses() -> None:
    """The coroutine does not end when the main thread is interrupted."""
    manager, stubborn, log = started(grace=0.1), Stubborn(), collected_log()
    Interrupts().when(stubborn.began)
    try:
        manager.run(stubborn.wait())
    except KeyboardInterrupt:
        assert stubborn.refused.is_set()
        assert any("Stubborn.wait" in line for line in log), log
    else:
        raise AssertionError("nothing was raised")
    stubborn.release()
    assert manager.run(give("lives on")) == "lives on"
    manager.stop()


def test_a_task_that_refuses() -> None:
    """The wait for the cleanup is bounded by the grace; then the exception goes on all the same."""
    in_process(child_refuses)


def child_interrupted_in_the_cleanup() -> None:
    """A second Ctrl-C comes while the coroutine cleans up."""
    manager = started(grace=20)
    cleaning, go_on = threading.Event(), threading.Event()
    asked: list[BaseException] = []

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            interrupts.when(cleaning)
            cleaning.set()
            await asyncio.to_thread(go_on.wait)
            try:
                await run_in_calling_thread(int)
            except CallerNotFound as error:
                asked.append(error)

    began, interrupts = threading.Event(), Interrupts()
    interrupts.when(began)
    try:
        manager.run(work())
    except KeyboardInterrupt:
        go_on.set()
    wait_until(lambda: bool(asked), "it waits for a thread that has gone on")
    manager.stop()


def test_a_second_time_while_it_cleans_up() -> None:
    """What the coroutine then wants to run on the thread is refused, and hangs nobody."""
    in_process(child_interrupted_in_the_cleanup)


def child_interrupted_after_a_timeout() -> None:
    """Ctrl-C comes while a call that has timed out waits for the cleanup."""
    manager, cleaning = started(grace=20), threading.Event()
    done: list[int] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            with contextlib.suppress(asyncio.CancelledError):  # until the interrupt's
                await asyncio.Event().wait()
            done.append(await run_in_calling_thread(threading.get_ident))

    Interrupts().when(cleaning)
    try:
        manager.run(work(), timeout=BEGIN)
    except KeyboardInterrupt:
        assert done == [threading.get_ident()]
    else:
        raise AssertionError("nothing was raised")
    manager.stop()


def test_after_a_timeout() -> None:
    """The thread still waits for the cleanup, and runs what that wants to run there."""
    in_process(child_interrupted_after_a_timeout)


def child_manager_of_another_thread() -> None:
    """The main thread waits for a manager that it does not own."""
    with Worker() as owner:
        manager, task = AsyncioLoopManager(creator_thread=owner.thread), Endless()
        owner.call(manager.start)
        Interrupts().when(task.began)
        try:
            manager.run(task.wait())
        except KeyboardInterrupt:
            assert task.cleaned.is_set()
        else:
            raise AssertionError("nothing was raised")
        assert owner.call(manager.run, give("lives on")) == "lives on"
        manager.stop()


def test_a_manager_of_another_thread() -> None:
    """It is the same when the main thread waits for a manager that it does not own."""
    in_process(child_manager_of_another_thread)


def child_interrupted_in_result(kind: str) -> None:
    """The main thread waits for a submitted task's future."""
    manager, task = started(), Endless()
    future = manager.submit_task(task.wait(), return_sync_future=kind == "SyncFuture")
    Interrupts(inside="result").when(task.began)
    try:
        future.result()
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("nothing was raised")
    assert manager.run(give("lives on")) == "lives on"
    manager.stop()
    assert task.cleaned.is_set()


@pytest.mark.parametrize("kind", ["SyncFuture", "Future"])
def test_while_it_waits_for_a_future(kind: str) -> None:
    """Ctrl-C gets through to a wait for a future too, and leaves the manager in order."""
    in_process(child_interrupted_in_result, kind)


def child_handler_waits(outer: str) -> None:
    """A signal handler waits for the manager while the main thread does."""
    manager = started()
    answers: list[object] = []

    def handle(*_: object) -> None:
        answers.append(manager.run(give("nested")))
        answers.append(manager.submit_task(give("nested"), return_sync_future=True).result())
        answers.append(manager.submit_task(give("nested")).result())

    def send(began: threading.Event) -> None:
        reached(began)
        os.kill(os.getpid(), signal.SIGUSR1)

    async def wait(began: threading.Event, turn: int) -> str:
        began.set()
        await asyncio.sleep(0.0002 * (turn % 10))  # ends before, while or after the handler waits
        return "outer"

    signal.signal(signal.SIGUSR1, handle)
    for turn in range(60):
        answers.clear()
        began = threading.Event()
        sender = threading.Thread(target=send, args=(began,))
        sender.start()
        if outer == "run":
            answers.append(manager.run(wait(began, turn)))
        elif outer == "run with timeout":
            answers.append(manager.run(wait(began, turn), timeout=LIMIT))
        else:
            future = manager.submit_task(wait(began, turn), outer == "SyncFuture")
            answers.append(future.result())
        sender.join()  # the signal is sent by now, and its handler has run before the next line
        assert sorted(map(str, answers)) == ["nested", "nested", "nested", "outer"]
    manager.stop()


@pytest.mark.parametrize("outer", ["run", "run with timeout", "SyncFuture", "Future"])
def test_a_handler_that_waits_itself(outer: str) -> None:
    """A handler that calls `run()` while the main thread waits does not eat that wait's wake-up."""
    in_process(child_handler_waits, outer)


def child_random_signals(call: str) -> None:
    """Signals raise in any line of a call, thousands of times."""
    armed = False

    def handle(*_: object) -> None:
        if armed:
            raise SoftTimeLimit

    signal.signal(signal.SIGALRM, handle)
    logging.getLogger("asyncio").addHandler(logging.NullHandler())
    manager = started(grace=1.0)
    calls = {
        "run": lambda: manager.run(asyncio.sleep(0)),
        "result": lambda: manager.submit_task(asyncio.sleep(0)).result(),
    }
    seed, interrupted = random.randrange(10**9), 0
    choose = random.Random(seed)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, choose.random() * 0.0005 + 0.00001)
            calls[call]()
        except SoftTimeLimit:
            interrupted += 1
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            assert manager.run(give("works"), timeout=LIMIT / 2) == "works"
        except BaseException:
            say(f"seed {seed}, after {interrupted} interruptions")
            os._exit(1)  # its exit would wait for the same
    say(f"interrupted {interrupted > 100}")
    os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["run", "result"])
def test_the_loop_works_on_whatever_line_a_signal_interrupts(call: str) -> None:
    """No lock stays taken, which the loop's thread would then wait for forever."""
    out, err, status = run_process(child_random_signals, call)
    assert (out.strip(), status) == ("interrupted True", 0), out + err


def child_interrupted_start(where: str) -> None:
    """A signal comes at the end of a step of a manager's start."""

    def handle(*_: object) -> None:
        raise SoftTimeLimit

    def arrive(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code.co_name == where:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGALRM)

    signal.signal(signal.SIGALRM, handle)
    manager = AsyncioLoopManager()
    sys.setprofile(arrive)
    with pytest.raises(SoftTimeLimit):
        manager.start()
    assert manager.state == "new"
    assert threading.enumerate() == [threading.main_thread()]
    with manager:
        assert manager.run(give(1)) == 1


@pytest.mark.parametrize("where", ["_claim", "_run", "_build", "_publish"])
def test_a_start_that_is_interrupted_can_be_tried_again(where: str) -> None:
    """The manager is not said to be starting forever, and no thread of it is left."""
    in_process(child_interrupted_start, where)


def child_interrupted_function(kind: str) -> None:
    """A function that the main thread runs is interrupted after its coroutine was canceled."""
    manager, canceled = started(), threading.Event()

    def compute(cancel: Callable[[], object]) -> None:
        manager.get_event_loop().call_soon_threadsafe(cancel)
        assert canceled.wait(LIMIT)
        raise KINDS[kind]

    async def ask() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await run_in_calling_thread(compute, task.cancel)
        finally:
            canceled.set()

    with pytest.raises(KINDS[kind]):
        manager.run(ask())
    assert manager.run(give(1)) == 1
    manager.stop()


@pytest.mark.parametrize("kind", ["interrupt", "exit"])
def test_an_interruption_is_not_lost_with_a_canceled_coroutine(kind: str) -> None:
    """Ctrl-C in a function of `run_in_calling_thread()` ends the program, late as it is."""
    in_process(child_interrupted_function, kind)
