"""Threads that run sync functions for the coroutines that they wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wsgi_async import run_in_calling_thread

from .scenarios import submit
from .stopping import attempt, stop
from .world import OWNER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


def function(world: World, name: str) -> Callable[[], str]:
    """A sync function that is to run on the thread that waits, with no running loop."""

    def sync() -> str:
        world.expect(world.primitives.current(), OWNER)
        world.expect(asyncio._get_running_loop(), None)
        return name

    return sync


def serve(world: World) -> None:
    """The owner runs two functions for its coroutine."""
    manager = world.start()

    async def work() -> list[str]:
        one = run_in_calling_thread(function(world, "one"))
        two = run_in_calling_thread(function(world, "two"))
        return list(await asyncio.gather(one, two))

    run = lambda: manager.run(world.coroutine(work()))  # noqa: E731
    world.thread("owner", lambda: world.expect(run(), ["one", "two"]))


def serve_beside_submitter(world: World) -> None:
    """The same as another thread submits."""
    serve(world)
    submit(world)


def serve_nested_beside_submitter(world: World) -> None:
    """A function calls run() again, whose coroutine has a function called too."""
    manager = world.start()

    async def inner() -> str:
        return await run_in_calling_thread(function(world, "inner"))

    async def outer() -> str:
        return await run_in_calling_thread(lambda: manager.run(world.coroutine(inner())))

    run = lambda: manager.run(world.coroutine(outer()))  # noqa: E731
    world.thread("owner", lambda: world.expect(run(), "inner"))
    submit(world)


def serve_who_leaves(world: World) -> None:
    """A task that a call leaves behind asks in the moment in which the call is over."""
    manager = world.start()
    asked: list[str] = []

    async def ask() -> None:
        try:
            asked.append(await run_in_calling_thread(function(world, "served")))
        except LookupError:
            asked.append("refused")

    async def work() -> None:
        tasks.append(asyncio.get_running_loop().create_task(ask()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    world.thread("owner", lambda: manager.run(world.coroutine(work())))
    world.promise("an answer", lambda: asked in (["served"], ["refused"]))


def serve_who_is_released(world: World) -> None:
    """A coroutine that resists asks as its thread stops waiting for it."""
    manager = world.start()
    world.may_log = True  # that it continues without its caller
    began: list[int] = []
    asked: list[str] = []

    async def resist() -> None:
        began.append(1)
        while not asked:
            try:
                asked.append(await run_in_calling_thread(function(world, "served")))
            except LookupError:
                asked.append("refused")
            except asyncio.CancelledError:
                pass

    def owner() -> None:
        try:
            manager.run(world.coroutine(resist()), timeout=0.5)
        except TimeoutError:
            pass

    world.thread("owner", owner)
    world.promise("an answer", lambda: not began or asked in (["served"], ["refused"]))


def serve_with_timeout(world: World) -> None:
    """The time is over at any moment, perhaps in a function: the coroutine is cancelled once."""
    manager = world.start()

    async def work() -> str:
        return await world.tidy(run_in_calling_thread(function(world, "served")))

    def owner() -> None:
        try:
            world.expect(manager.run(world.coroutine(work()), timeout=0.5), "served")
        except TimeoutError:
            pass

    world.thread("owner", owner)


def serve_beside_stop(world: World) -> None:
    """The manager is stopped while the owner runs a function for its coroutine."""
    manager = world.start()

    async def work() -> str:
        return await run_in_calling_thread(function(world, "served"))

    run = lambda: manager.run(world.coroutine(work()))  # noqa: E731
    world.thread("owner", lambda: attempt(world, run, "served"))
    stop(world)
