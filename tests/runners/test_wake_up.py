"""What comes from outside is begun at once, whatever the thread of the loop is doing."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.runners.parts import LIMIT, Door, Worker, make, steps, thread_of, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tests.runners.conftest import Start
    from wsgi_async import AsyncioLoopManager

    State = Callable[[AsyncioLoopManager, Worker], Callable[[], object]]


def through(door: Door, future: Future[str]) -> None:
    """Let a coroutine through that waits at a door."""
    door.open()
    assert future.result(LIMIT) == "through"


def fresh(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """Nothing has happened yet."""
    return lambda: None


def at_rest(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """Work from another thread has been done."""
    assert manager.submit_task(value(1)).result(LIMIT) == 1
    return lambda: None


def after_calls(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """The owner has called."""
    for _ in range(3):
        own.call(manager.run, value(1))
    return lambda: None


def busy(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """A task waits for something."""
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    door.await_reached()
    return lambda: through(door, future)


def in_call(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """The owner waits for a coroutine."""
    door = Door()
    call = own.begin(manager.run, door.walk())
    door.await_reached()
    return lambda: through(door, call)


def in_wait(manager: AsyncioLoopManager, own: Worker) -> Callable[[], object]:
    """The owner waits for a task's future."""
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    call = own.begin(future.result, LIMIT)
    door.await_reached()
    return lambda: through(door, call)


STATES = pytest.mark.parametrize("state", [fresh, at_rest, after_calls, busy, in_call, in_wait])


@STATES
def test_run_coroutine_threadsafe_is_prompt_in_every_state(
    start: Start, own: Worker, other: Worker, state: State
) -> None:
    """Coroutines from outside need no call of the owner's."""
    manager = start()
    end = state(manager, own)
    loop = manager.get_event_loop()

    async def with_a_pause() -> int:
        await asyncio.sleep(0.001)
        return len(await steps())

    for _ in range(3):
        future = other.call(lambda: asyncio.run_coroutine_threadsafe(with_a_pause(), loop))
        assert future.result(LIMIT) == 5
    end()


@STATES
def test_submitted_work_is_prompt_in_every_state(
    start: Start, own: Worker, other: Worker, state: State
) -> None:
    """The loop never sleeps over work that is queued."""
    manager = start()
    end = state(manager, own)
    for _ in range(3):
        assert len(other.call(manager.submit_task, steps()).result(LIMIT)) == 5
    end()


@STATES
def test_a_call_from_another_thread_is_prompt_in_every_state(
    start: Start, own: Worker, other: Worker, state: State
) -> None:
    """Any thread may call, at any time."""
    manager = start()
    end = state(manager, own)
    for _ in range(3):
        assert len(other.call(manager.run, steps())) == 5
    end()


def test_run_coroutine_threadsafe_is_prompt_beside_short_calls(start: Start, own: Worker) -> None:
    """A coroutine from outside is brought to its end, though the call beside it ends first."""
    manager = start()
    loop = manager.get_event_loop()
    futures: list[Future[list[int]]] = []

    async def start_another() -> None:
        futures.append(asyncio.run_coroutine_threadsafe(steps(3), loop))

    for _ in range(5):
        own.call(manager.run, start_another())
        assert len(futures.pop().result(LIMIT)) == 3


def test_a_task_that_nobody_waits_for_is_done(start: Start, own: Worker) -> None:
    """A background task starts at once, and goes on with no call coming."""
    manager = start()
    door = Door()
    future = own.call(manager.submit_task, door.walk())
    door.await_reached()
    door.open()
    assert future.result(LIMIT) == "through"


def test_a_timer_set_in_a_call_fires_with_no_call_coming(start: Start, own: Worker) -> None:
    """What a coroutine leaves to the loop's clock happens between calls."""
    manager = start()
    for delay in (0, 0.001, 0.05):
        fired = threading.Event()

        async def set_timer(fired: threading.Event = fired, delay: float = delay) -> None:
            asyncio.get_running_loop().call_later(delay, fired.set)

        own.call(manager.run, set_timer())
        assert fired.wait(LIMIT)


def test_a_nearer_timer_is_noticed(start: Start, own: Worker) -> None:
    """A loop that sleeps until a timer learns of one that comes before it."""
    manager = start()
    loop = manager.get_event_loop()
    late, soon = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(loop.call_later, 3600, late.set)
    assert own.call(manager.submit_task, value(1)).result(LIMIT) == 1
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


@pytest.mark.parametrize("of", ["socket", "timer"])
def test_nothing_starves_while_calls_come_back_to_back(
    start: Start, own: Worker, pair: tuple[socket.socket, socket.socket], of: str
) -> None:
    """However densely calls follow each other, the loop's own business goes on beside them."""
    manager = start()
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

    own.begin(call_until_it_happens).result(LIMIT * 2)
    assert happened.is_set()
    own.call(forget)


def test_an_executor_wakes_an_idle_loop(start: Start, own: Worker) -> None:
    """A task left behind that waits for a thread goes on as soon as the thread is done."""
    manager = start()
    release, finished, waits = (threading.Event() for _ in range(3))
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
    """Its loop lives on a thread of its own, so work from outside and from the owner starts."""
    manager = make()
    try:
        future = asyncio.run_coroutine_threadsafe(steps(), manager.get_event_loop())
        assert future.result(LIMIT) == [thread_of(manager)] * 5
        assert manager.submit_task(steps()).result(LIMIT) == [thread_of(manager)] * 5
        assert thread_of(manager) != threading.get_ident()
    finally:
        manager.stop(LIMIT / 2)
