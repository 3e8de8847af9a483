from __future__ import annotations

import sys

import pytest

from tests.core.support import run_code

pytest.importorskip("resource")

COMMON = """
import asyncio, contextlib, os, resource, threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from wsgi_async import (
    AsyncioLoopManager, AsyncLoopMiddleware, LoopThreadPoolExecutor, loop_from
)
Resident = partial(LoopThreadPoolExecutor, own_managers=False)

async def answer():
    await asyncio.sleep(0)
    return b"ok"

def app(environ, start_response):
    return [loop_from(environ).run(answer())]

middleware = AsyncLoopMiddleware(app)

def request():
    environ = {}
    try:
        [body] = middleware(environ, None)
        return body
    except RuntimeError as error:
        return error
    finally:
        assert environ == {}
"""

DESCRIPTORS = """
def descriptors():
    return len(os.listdir("/dev/fd"))

@contextlib.contextmanager
def only(free):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    for _ in range(free):
        os.close(held.pop())
    yield
    for descriptor in held:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

failed = 0
enough = False
while not enough:
    while threading.active_count() > 1:  # the last round's keeper
        threading.Event().wait(0.01)
    with POOL(1) as pool:
        pool.submit(int).result(10)
        before = descriptors(), threading.active_count()
        with only(failed):
            results = [pool.submit(request).result(10) for _ in range(3)]
        enough = results == [b"ok"] * 3
        if not enough:
            assert (descriptors(), threading.active_count()) == before
            assert not AsyncioLoopManager.all_instances()
            assert not AsyncioLoopManager.registry()
            for error in results:
                assert isinstance(error.__cause__, OSError), error.__cause__
                assert "(RLIMIT_NOFILE is 64)" in str(error), error
            assert pool.submit(request).result(10) == b"ok"
            failed += 1
            message = str(error)
print(failed, message)
"""

THREADS = """
MIB = 1 << 20
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
with ThreadPoolExecutor(1) as pool:
    pool.submit(int).result(10)
    with open("/proc/self/statm") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    # A stack larger than what is left is what a process without memory for a thread has, and
    # unlike RLIMIT_NPROC it stops root as well.
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 256 * MIB, hard))
    threading.stack_size(1024 * MIB)
    before = len(os.listdir("/dev/fd")), threading.active_count()
    results = [pool.submit(request).result(10) for _ in range(3)]
    assert (len(os.listdir("/dev/fd")), threading.active_count()) == before
    assert not AsyncioLoopManager.registry()
    threading.stack_size(0)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    for error in results:
        assert str(error.__cause__) == "can't start new thread", error.__cause__
    assert pool.submit(request).result(10) == b"ok"
    print(str(error))
"""


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "Resident"])
def test_without_file_descriptors_the_error_names_the_limit_and_the_next_request_tries_again(
    pool: str,
) -> None:
    """Whether one or all that a loop needs are missing; nothing half-made stays open."""
    code = COMMON + DESCRIPTORS.replace("POOL", pool)
    failed, message = run_code(code).split(maxsplit=1)
    assert int(failed) >= 2
    assert "out of file descriptors" in message
    assert "ulimit -n" in message
    assert "next request tries again" in message


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the address space")
def test_without_threads_the_error_names_the_limits_and_the_next_request_tries_again() -> None:
    """A process that cannot start the keeper says what to raise; nothing half-made stays open."""
    message = run_code(COMMON + THREADS)
    assert "cannot start a thread" in message
    assert "RLIMIT_NPROC" in message
    assert "next request tries again" in message
