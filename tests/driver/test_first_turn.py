"""Input and output while calls come back to back, which share one look at the sockets."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from wsgi_async.core.loops import WatchedSelector


@pytest.fixture
def readable() -> Iterator[WatchedSelector]:
    """A selector with a socket that has something to read."""
    near, far = socket.socketpair()
    with near, far, WatchedSelector() as selector:
        selector.register(near, selectors.EVENT_READ)
        far.send(b"x")
        yield selector


def test_a_first_turn_soon_after_another_does_not_look(readable: WatchedSelector) -> None:
    """A call that comes right after another pays no system call for others' sockets."""
    readable.first_turn = True
    assert readable.select(0)
    readable._poll_again = time.monotonic() + 60
    readable.first_turn = True
    assert readable.select(0) == []


def test_calls_that_never_pause_do_not_starve_sockets(readable: WatchedSelector) -> None:
    """What came in is seen soon, however many first turns there are and nothing else."""
    readable.first_turn = True
    assert readable.select(0)
    end = time.monotonic() + 10
    seen: list[tuple[selectors.SelectorKey, int]] = []
    while not seen and time.monotonic() < end:
        readable.first_turn = True
        seen = readable.select(0)
    assert seen


def test_the_second_turn_looks(readable: WatchedSelector) -> None:
    """A coroutine that goes through several turns gives way to sockets in each but the first."""
    readable._poll_again = time.monotonic() + 60
    readable.first_turn = True
    assert readable.select(0) == []
    assert readable.select(0)


def test_a_turn_with_nothing_to_do_waits(readable: WatchedSelector) -> None:
    """A first turn that has nothing ready blocks for input, whenever the last look was."""
    readable._poll_again = time.monotonic() + 60
    readable.first_turn = True
    assert readable.select(None)
