"""Views that use other processes, and that change the loop that they run on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from tests.faults.site import give, view
from wsgi_async import get_or_create_loop_manager, run

if TYPE_CHECKING:
    from wsgi_async import AsyncioLoopManager


def in_child() -> bytes:
    """What a child process does: use a loop of its own."""
    return run(give(b"of the child"))


@view
def fork(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Fork in a view, and use async code in the child."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writing, in_child())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer + loop.run(give(b" and the parent"))


@view
def pool(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """A process pool, by one of multiprocessing's start methods."""
    context = multiprocessing.get_context(query["method"])
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        return processes.submit(in_child).result(20) + loop.run(give(b" and the parent"))


@view
def child_process(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Programs, by subprocess and by asyncio."""
    command = [sys.executable, "-c", "print('out', end='')"]
    blocking = subprocess.run(command, capture_output=True, check=True, timeout=20).stdout
    return blocking + b" " + loop.run(asyncio_child(command))


async def asyncio_child(command: list[str]) -> bytes:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    return out


@view
def no_descriptors(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Open a connection when no file descriptor is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        return loop.run(connect())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect() -> NoReturn:
    await asyncio.open_connection("127.0.0.1", 9)
    raise AssertionError


@view
def no_memory(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return loop.run(allocate())


async def allocate() -> bytes:
    await asyncio.sleep(0)
    return bytes(bytearray(1 << 60))


@view
def no_stack(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    return loop.run(deeper())


async def deeper() -> bytes:
    return await deeper()


@view
def no_threads(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Ask for a thread when the system gives none."""
    return loop.run(in_thread())


def refuse(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


async def in_thread() -> bytes:
    import threading

    loop, over = asyncio.get_running_loop(), threading.Event()
    original = threading.Thread.start
    threading.Thread.start = refuse  # type: ignore[method-assign]
    try:
        # Threads that earlier requests have left idle take the first ones.
        for _ in range(100):
            loop.run_in_executor(None, over.wait)
    finally:
        threading.Thread.start = original  # type: ignore[method-assign]
        over.set()
    return b"never"


# -- the loop --------------------------------------------------------------------------------------


@view
def stops_the_loop(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(on_loop("stop"))
    return b"runs on"


@view
def closes_the_loop(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    loop.run(on_loop("close"))
    return b"never"


async def on_loop(method: str, *args: Any) -> None:
    getattr(asyncio.get_running_loop(), method)(*args)
    await asyncio.sleep(0)


@view
def handles_signals(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    import signal

    loop.run(on_loop("add_signal_handler", signal.SIGUSR1, print))
    return b"never"


@view
def factory_fails(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    event_loop = loop.get_event_loop()
    loop.run(on_loop("set_task_factory", broken_factory))
    try:
        return loop.run(give(b"never"))
    finally:
        event_loop.call_soon_threadsafe(event_loop.set_task_factory, None)


def broken_factory(*_: object, **__: object) -> NoReturn:
    raise ValueError("of the task factory")


@view
def handler_fails(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """An exception handler of the user's that fails when it is needed."""
    loop.run(on_loop("set_exception_handler", broken_factory))
    loop.run(on_loop("call_soon", broken_factory))
    loop.run(on_loop("set_exception_handler", None))
    return b"runs on"


@view
def debugs(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Switch asyncio's debug mode on, in the middle."""
    loop.run(on_loop("set_debug", True))
    try:
        return loop.run(give(b"runs on"))
    finally:
        loop.run(on_loop("set_debug", False))


@view
def second_manager(loop: AsyncioLoopManager, query: dict[str, str]) -> bytes:
    """Start and stop a manager of one's own beside the request's."""
    with get_or_create_loop_manager("beside", force_create=True) as own:
        return own.run(give(b"own ")) + loop.run(give(b"and the request's"))
