"""Threads that run sync functions for the coroutines that they wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import asgiref.sync  # noqa: F401 - the threads that wait serve sync functions only where it is there

from wsgi_async.core import running, sync_calls

from .scenarios import submit
from .world import MAX_PAUSE, OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .world import World

T = TypeVar("T")


def run(world: World, coro: Coroutine[Any, Any, T]) -> T:
    """`manager.run()`, as it is where asgiref has been imported."""
    world.driver.serves_sync_calls = True
    return running.run_on(world.driver, world.coroutine(coro))


async def on_calling_thread(function: Callable[[], T]) -> T:
    """`sync_to_async(function)()`, without asgiref."""
    calls = sync_calls.current_calls.get()
    assert calls is not None
    future = calls.submit(function, asyncio.get_running_loop())
    assert future is not None
    return await future  # type: ignore[no-any-return]


def function(world: World, name: str) -> Callable[[], str]:
    """A sync function that is to run on the thread that waits, with no running loop."""

    def sync() -> str:
        world.expect(world.seam.current(), OWNER)
        world.expect(asyncio._get_running_loop(), None)
        return name

    return sync


def serve(world: World) -> None:
    """The owner runs two functions for its coroutine."""
    world.start()

    async def work() -> list[str]:
        one = on_calling_thread(function(world, "one"))
        two = on_calling_thread(function(world, "two"))
        return list(await asyncio.gather(one, two))

    world.thread("owner", lambda: world.expect(run(world, work()), ["one", "two"]))


def serve_beside_submitter(world: World) -> None:
    """The same as another thread submits, so that the keeper may drive."""
    serve(world)
    submit(world)


def serve_nested(world: World) -> None:
    """A function calls run() again, whose coroutine has a function called too."""
    world.start()

    async def inner() -> str:
        return await on_calling_thread(function(world, "inner"))

    async def outer() -> str:
        return await on_calling_thread(lambda: run(world, inner()))

    world.thread("owner", lambda: world.expect(run(world, outer()), "inner"))


def serve_nested_beside_submitter(world: World) -> None:
    """The same as another thread submits."""
    serve_nested(world)
    submit(world)


def take_over(world: World) -> None:
    """A function waits for what another branch of the coroutine does."""
    world.start()
    world.patient = True
    signal = world.seam.signal()

    async def work() -> bool:
        waits = asyncio.ensure_future(on_calling_thread(signal.wait))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        signal.set()
        return await waits

    world.thread("owner", lambda: world.expect(run(world, work()), True))


def take_over_as_it_returns(world: World) -> None:
    """A function ends by itself in the moment in which it has lasted too long."""
    world.start()
    world.patient = True
    signal = world.seam.signal()

    async def work() -> list[bool]:
        first = await on_calling_thread(lambda: signal.wait(MAX_PAUSE))
        return [first, await on_calling_thread(lambda: True)]

    world.thread("owner", lambda: world.expect(run(world, work()), [False, True]))


def take_over_before_a_nested_run(world: World) -> None:
    """A function calls run() in the moment in which it has lasted too long."""
    world.start()
    world.patient = True
    signal = world.seam.signal()

    async def inner() -> str:
        return await on_calling_thread(lambda: "inner")

    def function() -> str:
        signal.wait(MAX_PAUSE)
        return run(world, inner())

    async def outer() -> str:
        return await on_calling_thread(function)

    world.thread("owner", lambda: world.expect(run(world, outer()), "inner"))


def stop_beside_a_pause(world: World) -> None:
    """The manager is stopped while the owner runs a function for its coroutine."""
    manager = world.start()
    world.patient = True
    world.stopped = True

    async def work() -> str:
        return await on_calling_thread(function(world, "served"))

    def owner() -> None:
        try:
            world.expect(run(world, work()), "served")
        except Exception as error:
            world.expect(type(error).__name__, "RuntimeError", "Closing")

    world.thread("owner", owner)
    world.thread("stopper", lambda: manager.stop(timeout=1000))
