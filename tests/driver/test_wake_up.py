"""What comes from outside: prompt in every state of the keeper; timers and sockets (mechanic 4)."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.driver.parts import FAR, LIMIT, Door, Worker, keeper_of, make, started, steps, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tests.driver.conftest import Start
    from tests.driver.seams import SpySeam
    from wsgi_async import AsyncioLoopManager

    State = Callable[[AsyncioLoopManager, SpySeam, Worker], Future[list[int]] | None]


def fresh(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> None:
    """Nothing has happened yet."""


def at_rest(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> None:
    """The keeper has driven, and rests."""
    assert own.call(manager.submit_task, value(1)).result(LIMIT) == 1


def after_calls(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> None:
    """A caller has driven, and the linger is far from over."""
    for _ in range(3):
        own.call(manager.run, value(1))


def parked(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> None:
    """The keeper has seen a caller drive, and sleeps until it is woken."""
    keeper = keeper_of(manager)
    asleep = threading.Event()

    def blocking() -> None:
        if threading.get_ident() == keeper:
            asleep.set()

    async def show_yourself() -> None:
        # Something comes onto the loop while we drive. The keeper wakes up for it, sees us, and
        # parks; the loop is held up until then.
        asyncio.get_running_loop().call_soon_threadsafe(lambda: None)
        manager.life._keeper.wake()  # type: ignore[union-attr]
        assert asleep.wait(LIMIT)

    seam.blocking = blocking
    own.call(manager.run, show_yourself())


def busy(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> Future[list[int]]:
    """The keeper drives for tracked work."""
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    door.await_reached()
    seam.opens = door.open
    return future


def driven(manager: AsyncioLoopManager, seam: SpySeam, own: Worker) -> Future[list[int]]:
    """A caller drives."""
    door = Door()
    future = own.submit(manager.run, door.walk())
    door.await_reached()
    seam.opens = door.open
    return future


STATES = pytest.mark.parametrize("state", [fresh, at_rest, after_calls, parked, busy, driven])


@STATES
@pytest.mark.parametrize("drive", ["auto", "caller"])
def test_run_coroutine_threadsafe_is_prompt_in_every_state(
    start: Start, own: Worker, other: Worker, seam: SpySeam, state: State, drive: str
) -> None:
    """Coroutines from outside need no call and no linger, whatever keeper and callers do."""
    manager = start(seam, linger=FAR, drive=drive)
    going_on = state(manager, seam, own)
    loop = manager.get_event_loop()

    async def with_a_pause() -> int:
        await asyncio.sleep(0.001)
        return len(await steps())

    for _ in range(3):
        future = other.call(lambda: asyncio.run_coroutine_threadsafe(with_a_pause(), loop))
        assert future.result(LIMIT) == 5
    if going_on is not None:
        seam.opens()
        assert len(going_on.result(LIMIT)) == 2


@STATES
def test_submitted_work_is_prompt_in_every_state(
    start: Start, own: Worker, other: Worker, seam: SpySeam, state: State
) -> None:
    """The keeper never sleeps over work that is queued."""
    manager = start(seam, linger=FAR)
    going_on = state(manager, seam, own)
    for _ in range(3):
        assert len(other.call(manager.submit_task, steps()).result(LIMIT)) == 5
    if going_on is not None:
        seam.opens()
        assert len(going_on.result(LIMIT)) == 2


@STATES
def test_a_waiter_that_may_not_drive_is_served_in_every_state(
    start: Start, own: Worker, other: Worker, seam: SpySeam, state: State
) -> None:
    """Work left to a waiter starts when one comes, though that one leaves it to the keeper."""
    manager = start(seam, linger=FAR)
    going_on = state(manager, seam, own)
    submit = own.call if state is not driven else lambda fn, *args: fn(*args)
    future = submit(manager.submit_task, steps(), True)
    assert len(other.call(future.result, LIMIT)) == 5
    if going_on is not None:
        seam.opens()
        assert len(going_on.result(LIMIT)) == 2


def test_run_coroutine_threadsafe_is_prompt_beside_short_calls(start: Start, own: Worker) -> None:
    """A coroutine from outside is brought to its end, though the call that drove it ends first."""
    manager = start(linger=FAR)
    loop = manager.get_event_loop()
    futures: list[Future[list[int]]] = []

    async def start_another() -> None:
        futures.append(asyncio.run_coroutine_threadsafe(steps(3), loop))

    for _ in range(5):
        own.call(manager.run, start_another())
        assert len(futures.pop().result(LIMIT)) == 3


def test_a_sync_future_that_nobody_waits_for_starts_after_the_linger(
    start: Start, own: Worker
) -> None:
    """Work left to a waiter who never comes starts all the same."""
    manager = start(linger=0.01)
    door = Door()
    future = own.call(manager.submit_task, door.walk(), return_sync_future=True)
    door.await_reached()
    door.open()
    assert future.result(LIMIT) == [keeper_of(manager)] * 2


def test_a_timer_set_in_a_call_fires_with_no_call_coming(start: Start, own: Worker) -> None:
    """What a coroutine leaves to the loop's clock happens while nobody drives."""
    manager = start()
    for delay in (0, 0.001, 0.05):
        fired = threading.Event()

        async def set_timer(fired: threading.Event = fired, delay: float = delay) -> None:
            asyncio.get_running_loop().call_later(delay, fired.set)

        own.call(manager.run, set_timer())
        assert fired.wait(LIMIT)


def test_a_timer_beyond_the_keepers_next_look_fires(start: Start, own: Worker) -> None:
    """The keeper that rests knows when the next timer is due, and of one that comes before it."""
    manager = start(linger=FAR)
    loop = manager.get_event_loop()
    late, soon = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(loop.call_later, 3600, late.set)
    at_rest(manager, None, own)  # type: ignore[arg-type]
    loop.call_soon_threadsafe(loop.call_later, 0.05, soon.set)
    assert soon.wait(LIMIT)
    assert not late.is_set()


def test_a_task_left_behind_goes_on_with_no_call_coming(start: Start, own: Worker) -> None:
    """A ticker of the loop's own ticks on between calls."""
    manager = start()
    ticks: list[None] = []
    enough = threading.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def tick() -> None:
        while len(ticks) < 5:
            await asyncio.sleep(0.01)
            ticks.append(None)
        enough.set()

    async def leave_behind() -> None:
        tasks.add(asyncio.get_running_loop().create_task(tick()))

    own.call(manager.run, leave_behind())
    assert enough.wait(LIMIT)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        yield near, far


def listen(
    manager: AsyncioLoopManager, near: socket.socket, received: threading.Event
) -> Callable[[], object]:
    """Have the loop read a socket; returns what ends that."""
    loop = manager.get_event_loop()

    def read() -> None:
        near.recv(1)
        received.set()

    async def add() -> None:
        loop.add_reader(near, read)

    async def remove() -> None:
        loop.remove_reader(near)

    manager.run(add())
    return lambda: manager.run(remove())


def test_an_idle_socket_is_served_between_calls(
    start: Start, own: Worker, pair: tuple[socket.socket, socket.socket]
) -> None:
    """What comes in on a socket that a call has added is read with no call coming."""
    manager = start()
    near, far = pair
    received = threading.Event()
    forget = own.call(listen, manager, near, received)
    for _ in range(3):
        received.clear()
        far.send(b"x")
        assert received.wait(LIMIT)
        own.call(manager.run, value(1))
    own.call(forget)


def test_an_idle_socket_is_watched_from_outside(
    own: Worker, seam: SpySeam, pair: tuple[socket.socket, socket.socket]
) -> None:
    """With our own loop the keeper sees at once that a socket is ready, while nobody drives."""
    near, far = pair
    received = threading.Event()
    with started(own, seam, linger=FAR) as manager:
        assert seam.watching.wait(LIMIT)
        forget = own.call(listen, manager, near, received)
        far.send(b"x")
        assert received.wait(LIMIT)
        own.call(forget)


@pytest.mark.parametrize("of", ["socket", "timer"])
def test_nothing_starves_while_calls_come_back_to_back(
    start: Start, own: Worker, pair: tuple[socket.socket, socket.socket], of: str
) -> None:
    """However densely calls follow each other, they take the loop's own business along."""
    manager = start(linger=FAR)
    near, far = pair
    happened = threading.Event()
    forget = own.call(listen, manager, near, happened)

    async def set_timer() -> None:
        asyncio.get_running_loop().call_later(0.01, far.send, b"x")

    if of == "socket":
        far.send(b"x")
    else:
        own.call(manager.run, set_timer())

    def call_until_it_happens() -> None:
        give_up = threading.Event()
        watchdog = threading.Timer(LIMIT, give_up.set)
        watchdog.start()
        while not (happened.is_set() or give_up.is_set()):
            manager.run(value(1))
        watchdog.cancel()
        watchdog.join()

    own.submit(call_until_it_happens).result(LIMIT * 2)
    assert happened.is_set()
    own.call(forget)


def test_an_executor_wakes_a_loop_that_nobody_drives(start: Start, own: Worker) -> None:
    """A task left behind that waits for a thread goes on as soon as the thread is done."""
    manager = start(linger=FAR)
    release, finished = threading.Event(), threading.Event()
    waits = threading.Event()
    tasks: set[asyncio.Task[None]] = set()

    def in_thread() -> None:
        waits.set()
        release.wait(LIMIT)

    async def wait_for_thread() -> None:
        await asyncio.to_thread(in_thread)
        finished.set()

    async def leave_behind() -> None:
        tasks.add(asyncio.get_running_loop().create_task(wait_for_thread()))
        while not waits.is_set():
            await asyncio.sleep(0)

    own.call(manager.run, leave_behind())
    own.call(manager.run, value(1))
    release.set()
    assert finished.wait(LIMIT)


def test_a_manager_of_the_main_thread_is_prompt_too() -> None:
    """Where only the keeper drives, work from outside and from the owner starts at once."""
    manager = make(None, linger=FAR)
    try:
        future = asyncio.run_coroutine_threadsafe(steps(), manager.get_event_loop())
        assert future.result(LIMIT) == [keeper_of(manager)] * 5
        sync_future = manager.submit_task(steps(), return_sync_future=True)
        assert sync_future.result(LIMIT) == [keeper_of(manager)] * 5
    finally:
        manager.stop(LIMIT / 2)
