"""`start()` in a process that is out of file descriptors or threads: an error, and nothing lost."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from pathlib import Path

import pytest

from tests.core.support import Worker, give, in_process, run_process, wait_until
from wsgi_async import AsyncioLoopManager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")


def open_descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())[:-1]  # not its own


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def child_without_descriptors(loop: str) -> None:
    """In a process of its own: start with 0, 1, 2, ... free descriptors until it succeeds."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def attempt(free: int) -> BaseException | None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
        manager = AsyncioLoopManager(loop_factory=factory)
        try:
            manager.start()
        except BaseException as error:
            return error
        else:
            assert manager.run(give(1)) == 1
            manager.stop()
            return None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    errors = []
    with Worker() as worker:
        assert worker.call(attempt, 200) is None  # whatever is made once is made
        wait_until(lambda: len(threading.enumerate()) == 2, "only we and the worker are left")
        before = open_descriptors()
        for free in range(40):
            error = worker.call(attempt, free)
            wait_until(lambda: len(threading.enumerate()) == 2, f"with {free}: no thread is left")
            assert open_descriptors() == before, (free, error)
            if error is None:
                break
            errors.append(error)
        else:
            raise AssertionError("it never started")
    for error in errors:
        assert isinstance(error, OSError), error
        assert error.errno == errno.EMFILE, error
    print(len(errors))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_without_file_descriptors(loop: str) -> None:
    """A process out of descriptors gets the OSError from `start()`, and loses none by trying."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    # A loop has several descriptors of its own, so it fails more than once before it succeeds.
    out, err, status = run_process(child_without_descriptors, loop)
    assert status == 0, out + err
    # A loop whose own constructor fails half-way complains when it is collected, ours or not.
    assert "wsgi_async" not in err
    assert int(out) >= 2


def child_without_threads(others: int) -> None:
    """In a process of its own: start when no thread can be, with so many managers running."""
    with Worker() as owner:
        running = [AsyncioLoopManager(number) for number in range(others)]
        for manager in running:
            owner.call(manager.start)
        late = AsyncioLoopManager("late")
        before = open_descriptors(), len(threading.enumerate())
        limits = resource.getrlimit(resource.RLIMIT_AS)
        # A stack has to fit into the address space; root would not be held to RLIMIT_NPROC.
        stack = threading.stack_size(512 * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + 256 * 2**20, limits[1]))
        errors = [owner.begin(late.start).exception(20) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_AS, limits)
        threading.stack_size(stack)
        assert [type(error) for error in errors] == [RuntimeError] * 3, errors
        assert all("thread" in str(error) for error in errors), errors
        wait_until(lambda: len(threading.enumerate()) == before[1], "no thread is left")
        assert open_descriptors() == before[0]
        for manager in running:
            assert owner.call(manager.run, give(1)) == 1
        owner.call(late.start)
        assert owner.call(late.run, give(1)) == 1
        for manager in [*running, late]:
            manager.stop()
        wait_until(lambda: len(threading.enumerate()) == 2, "only we and the owner are left")


@pytest.mark.parametrize("others", [0, 2])
def test_without_threads(others: int) -> None:
    """A process that cannot start a thread gets the error from `start()`, and keeps nothing."""
    in_process(child_without_threads, others)
