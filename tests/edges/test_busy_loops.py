"""Loops that have something ready in every turn: a call ends all the same, and no later."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sysconfig
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import give, in_process, say
from tests.edges.parts import PLACES, calling_from, make_loop_factory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CALLS = 15
"""How many calls of each kind are made on a busy loop."""

LONG = 0.5 if sysconfig.get_config_var("Py_GIL_DISABLED") else 0.1
"""Seconds that half of the calls on a busy loop stay below; without load they take 0.0001.

On a busy machine two threads of a free-threaded build take long to hand a lock to each other.
"""


@contextmanager
def readable(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A descriptor that is ready to be read, and that nobody reads."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    loop.call_soon_threadsafe(loop.add_reader, reader, lambda: None)
    yield
    _in_loop(loop, loop.remove_reader, reader)
    os.close(reader)
    os.close(writer)


@contextmanager
def writable(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A socket that is ready to be written to, and that nobody writes to."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        loop.call_soon_threadsafe(loop.add_writer, left, lambda: None)
        yield
        _in_loop(loop, loop.remove_writer, left)


@contextmanager
def fast_sender(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A descriptor whose reader has something to read each time."""
    reader, writer = os.pipe()
    os.write(writer, b"x")

    def read() -> None:
        os.write(writer, os.read(reader, 1))

    loop.call_soon_threadsafe(loop.add_reader, reader, read)
    yield
    _in_loop(loop, loop.remove_reader, reader)
    os.close(reader)
    os.close(writer)


@contextmanager
def again(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A callback that has itself called again."""
    busy = True

    def call() -> None:
        if busy:
            loop.call_soon(call)

    loop.call_soon_threadsafe(call)
    yield
    busy = False


def _in_loop(loop: asyncio.AbstractEventLoop, fn: Callable[..., object], *args: object) -> None:
    async def call() -> None:
        fn(*args)

    asyncio.run_coroutine_threadsafe(call(), loop).result()


REASONS = {one.__name__: one for one in (readable, writable, fast_sender, again)}
"""Why a loop is never at rest."""


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield await give(number)


async def at_once() -> int:
    return 1


def child(reason: str, place: str, loop: str) -> None:
    """Call a manager whose loop is never at rest."""
    with calling_from(place, loop_factory=make_loop_factory(loop), debug=False) as call:
        manager = call.manager
        with REASONS[reason](manager.get_event_loop()):
            uses: dict[str, Callable[[], object]] = {
                "at once": lambda: manager.run(at_once()),
                "run": lambda: manager.run(give(1)),
                "timer": lambda: manager.run(asyncio.sleep(0.001)),
                "future": lambda: manager.submit_task(give(1)).result(),
                "sync future": lambda: manager.submit_task(give(1), True).result(),
                "iterate": lambda: list(manager.iterate(numbers())),
            }
            for name, use in uses.items():
                took = [call(partial(time_of, use)) for _ in range(CALLS)]
                say(f"{name}: {'soon' if statistics.median(took) < LONG else took}")


def time_of(use: Callable[[], object]) -> float:
    began = time.perf_counter()
    use()
    return time.perf_counter() - began


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reason", REASONS)
def test_calls_end_although_the_loop_is_never_at_rest(reason: str, place: str, loop: str) -> None:
    """Something that is always ready on the loop neither holds up a call nor slows it down."""
    out = in_process(child, reason, place, loop)
    uses = ["at once", "run", "timer", "future", "sync future", "iterate"]
    assert out.splitlines() == [f"{use}: soon" for use in uses]
