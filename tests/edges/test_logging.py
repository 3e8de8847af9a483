"""Logging that fails, or takes its time: it is the application's, and the loops go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.core.support import (
    BEGIN,
    LIMIT,
    Endless,
    Stubborn,
    Worker,
    give,
    in_thread,
    reached,
    run_process,
    say,
    throw,
    wait_until,
)
from tests.edges.parts import PLACES, QUICK, await_stopped, calling_from, start
from wsgi_async import AsyncioLoopManager, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.edges.parts import Call


class BrokenLoggingError(Exception):
    """What goes wrong in the application's logging."""


class BrokenHandler(logging.Handler):
    """A handler that fails, and does not handle that itself."""

    def handle(self, record: logging.LogRecord) -> NoReturn:
        raise BrokenLoggingError(record.getMessage())


def refuse(record: logging.LogRecord) -> NoReturn:
    """A filter that fails."""
    raise BrokenLoggingError(record.getMessage())


def break_logging(what: str) -> None:
    """Have everything fail that logs from now on."""
    if what == "handler":
        logging.getLogger().addHandler(BrokenHandler())
        return
    for name in ("wsgi_async", "asyncio", "concurrent.futures"):
        logging.getLogger(name).addFilter(refuse)


BROKEN = ["handler", "filter"]


def fail() -> NoReturn:
    raise LookupError("the user's")


def leave() -> NoReturn:
    raise SystemExit(5)


# -- what is logged while a manager runs -----------------------------------------------------------


def in_loop(manager: AsyncioLoopManager, callback: Callable[[], object]) -> None:
    manager.get_event_loop().call_soon_threadsafe(callback)


def drop_a_failure(manager: AsyncioLoopManager, sync: bool) -> None:
    future = manager.submit_task(throw(LookupError("nobody's")), return_sync_future=sync)
    wait_until(future.done, "the task fails")


def call_back(manager: AsyncioLoopManager, sync: bool) -> None:
    future = manager.submit_task(give(1), return_sync_future=sync)
    with contextlib.suppress(BrokenLoggingError):  # if it is done, this thread calls back
        future.add_done_callback(lambda _: fail())
    assert future.result(LIMIT) == 1


def clean_up_late(manager: AsyncioLoopManager) -> None:
    stubborn = Stubborn()
    # Whether it is logged in this thread is not the point.
    with pytest.raises((TimeoutError, BrokenLoggingError)):
        manager.run(stubborn.wait(), timeout=BEGIN)
    stubborn.release()


async def never_awaited() -> None:
    asyncio.get_running_loop().create_future().set_exception(LookupError("nobody's either"))


LOGGED: dict[str, Callable[[AsyncioLoopManager], object]] = {
    "a callback that fails": lambda manager: in_loop(manager, fail),
    "a callback that exits": lambda manager: in_loop(manager, leave),
    "the loop told to stop": lambda manager: in_loop(manager, manager.get_event_loop().stop),
    "a failure of nobody's": lambda manager: drop_a_failure(manager, False),
    "a failure of nobody's sync future": lambda manager: drop_a_failure(manager, True),
    "a future of nobody's that fails": lambda manager: manager.run(never_awaited()),
    "a done callback that fails": lambda manager: call_back(manager, False),
    "a sync future's callback that fails": lambda manager: call_back(manager, True),
    "a cleanup that is late": clean_up_late,
}
"""What is logged, by the library, by asyncio or by the pool of futures: how to bring it about."""


def child_logs(name: str, broken: str, place: str) -> None:
    """Have something logged while a call and a task are under way; use the manager after that."""
    with calling_from(place, grace=QUICK) as call, Worker() as other:
        manager, waited, background = call.manager, Endless(), Endless()
        waiting = other.begin(manager.run, waited.wait())
        manager.submit_task(background.wait())
        reached(waited.began)
        reached(background.began)
        break_logging(broken)
        call(LOGGED[name], manager)
        say("logged")
        use(call)
        assert not waiting.done()
        manager.stop()
        assert manager.state == "stopped"
        assert background.cleaned.is_set()
        with pytest.raises(RuntimeError, match="stopped"):
            waiting.result(LIMIT)
        say("stopped")


def use(call: Call) -> None:
    """Use a manager from its place and from elsewhere, in each way."""
    manager = call.manager
    say(call(manager.run, give("run")))
    say(call(lambda: manager.submit_task(give("future")).result()))
    say(in_thread(lambda: manager.submit_task(give("sync future"), True).result()))
    say(in_thread(manager.run, give("other thread")))


USED = ["run", "future", "sync future", "other thread"]


def lines(fn: Callable[..., object], *args: object, limit: float = 10) -> list[str]:
    """What a child printed whose logging is broken; it has to end well."""
    out, err, status = run_process(fn, *args, limit=limit)
    assert status == 0, out + err
    return out.splitlines()


@pytest.mark.parametrize("place", PLACES[:2])
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", LOGGED)
def test_a_manager_works_on_when_its_log_fails(name: str, broken: str, place: str) -> None:
    """Whatever has to be logged, a handler or filter that raises takes no loop with it."""
    assert lines(child_logs, name, broken, place) == ["logged", *USED, "stopped"]


class Selector(selectors.SelectSelector):
    """Waits for sockets until it fails, and from then on never again."""

    broken = False

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.broken:
            raise OSError("the selector is broken")
        return super().select(timeout)


def child_loop_fails(broken: str) -> None:
    """The event loop itself fails, under a thread that waits."""
    selector = Selector()
    manager = start(loop_factory=lambda: asyncio.SelectorEventLoop(selector))
    with Worker() as worker:
        endless = Endless()
        waiting = worker.begin(manager.run, endless.wait())
        reached(endless.began)
        break_logging(broken)
        selector.broken = True
        in_loop(manager, int)
        assert isinstance(waiting.exception(LIMIT), Exception)
        say("told")
        with contextlib.suppress(Exception):  # it may be said to whoever asks
            manager.stop()
        await_stopped(manager)
        say("stopped")


@pytest.mark.parametrize("broken", BROKEN)
def test_who_waits_for_a_loop_that_fails_is_told(broken: str) -> None:
    """A loop that cannot go on wakes its waiters before it logs anything."""
    assert lines(child_loop_fails, broken) == ["told", "stopped"]


# -- what is logged by a stop ----------------------------------------------------------------------


@loop_resource
async def opened_first() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    say("closed")


@loop_resource
async def fails_to_close() -> AsyncIterator[None]:
    yield
    fail()


def fill(manager: AsyncioLoopManager, stubborn: Stubborn | None) -> None:
    """Give a manager what its stop has to complain of, and what is to be closed all the same."""
    opened_first.get(manager)
    fails_to_close.get(manager)
    if stubborn is not None:
        manager.submit_task(stubborn.wait())
        reached(stubborn.began)


def child_without_stderr(broken: str) -> None:
    """Have something logged where neither the log nor stderr takes it."""
    manager = start()
    break_logging(broken)
    stderr, sys.stderr = sys.stderr, None  # as under pythonw
    manager.get_event_loop().stop()
    say(manager.run(give("run")))
    sys.stderr = stderr
    manager.stop()
    say("stopped")


@pytest.mark.parametrize("broken", BROKEN)
def test_a_manager_works_on_when_nobody_can_be_told(broken: str) -> None:
    """If stderr is missing too, only the message is lost."""
    assert lines(child_without_stderr, broken) == ["run", "stopped"]


def child_stops(how: str, broken: str) -> None:
    """Stop a manager whose stop has something to say, in one of four ways."""
    stubborn = Stubborn() if how == "late" else None
    worker = Worker()
    manager = worker.call(start)
    worker.call(fill, manager, stubborn)
    break_logging(broken)
    if how == "process exit":
        # Another one, which has its turn as well.
        fill(start(), None)
        return
    if how == "thread end":
        worker.end()
    else:
        with contextlib.suppress(BrokenLoggingError):  # whoever logs may get it
            manager.stop(2 if how == "late" else 5)
    await_stopped(manager)
    say("stopped")
    if how != "thread end":
        manager.start()
        say(manager.run(give("started again")))
        manager.stop()
        worker.end()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("how", ["stop", "late", "thread end"])
def test_a_stop_goes_through_when_its_log_fails(how: str, broken: str) -> None:
    """A stop that cannot say what went wrong closes everything, and the manager can start again."""
    again = [] if how == "thread end" else ["started again"]
    assert lines(child_stops, how, broken) == ["closed", "stopped", *again]


@pytest.mark.parametrize("broken", BROKEN)
def test_every_manager_is_stopped_at_the_exit_when_the_log_fails(broken: str) -> None:
    """At the end of the process one manager's broken logging costs another nothing."""
    assert lines(child_stops, "process exit", broken) == ["closed", "closed"]


# -- logging that takes its time -------------------------------------------------------------------


class SlowHandler(logging.Handler):
    """Keeps whoever logs until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def handle(self, record: logging.LogRecord) -> bool:
        # asyncio's debug mode tells of slow steps, for which a busy machine is enough.
        if not record.getMessage().startswith("Executing <"):
            self.entered.set()
            self.go_on.wait()
        return True


def child_slow(name: str) -> None:
    """One manager's log blocks; another one is used, lingering work included."""
    slow = SlowHandler()
    with Worker() as first, Worker() as second:
        logging_one, other = first.call(start, grace=QUICK), second.call(start)
        logging.getLogger().addHandler(slow)
        blocked = first.begin(LOGGED[name], logging_one)
        if name not in NEVER_LOGGED_AT_ONCE:
            reached(slow.entered)
        say(second.call(other.run, give("run")))
        future = second.call(other.submit_task, give("sync future"), True)
        wait_until(future.done, "what nobody waits for is run")
        say(future.result())
        started = second.call(start)
        say(started.run(give("another one starts")))
        started.stop()
        other.stop()
        say(other.state)
        slow.go_on.set()
        blocked.result(LIMIT)
        logging_one.stop()


NEVER_LOGGED_AT_ONCE = {"a failure of nobody's", "a failure of nobody's sync future"}
"""These are logged when the collector comes, or when a future is dropped, a little later."""


@pytest.mark.parametrize("name", LOGGED)
def test_a_slow_handler_delays_no_other_manager(name: str) -> None:
    """While one manager's log entry is being written, all others work and can be stopped."""
    assert lines(child_slow, name) == ["run", "sync future", "another one starts", "stopped"]


def child_slow_pause(slow: bool) -> None:
    """A served function keeps its coroutine waiting until that is logged, by whoever watches."""
    from asgiref.sync import sync_to_async

    handler: Any = SlowHandler() if slow else BrokenHandler()
    released = threading.Event()

    async def view() -> None:
        await sync_to_async(released.wait)(LIMIT)

    with Worker() as first, Worker() as second:
        serving, other = first.call(start), second.call(start)
        logging.getLogger().addHandler(handler)
        blocked = first.begin(serving.run, view())
        if slow:
            handler.entered.wait(2)  # perhaps nothing is said of it
        else:
            released.wait(2)
        future = second.call(other.submit_task, give("run"), True)
        wait_until(future.done, "what nobody waits for is run")
        say(future.result())
        if slow:
            handler.go_on.set()
        released.set()
        blocked.result(LIMIT)
        for manager in (serving, other):
            manager.stop()


@pytest.mark.slow
@pytest.mark.parametrize("slow", [True, False], ids=["slow", "broken"])
def test_the_watch_over_long_pauses_delays_no_other_manager(slow: bool) -> None:
    """A function that holds up one loop, and the log entry about it, hold up no other loop."""
    assert lines(child_slow_pause, slow, limit=30) == ["run"]
