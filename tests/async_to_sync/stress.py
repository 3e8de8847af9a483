"""In a process of its own: random nestings of async and sync calls, with a look at each outcome."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import sys
import threading
import time
from typing import TYPE_CHECKING

from asgiref.local import Local
from asgiref.sync import sync_to_async

from tests.async_to_sync.parts import make, worker_for
from tests.core.support import outcome
from wsgi_async import async_to_sync

if TYPE_CHECKING:
    from wsgi_async import AsyncioLoopManager

THREADS = 3
TREES = 40
DEPTH = 6

path: contextvars.ContextVar[int] = contextvars.ContextVar("path", default=0)
local = Local()


class Failure(Exception):
    """What a node raises on purpose."""


class Node:
    """One call: a coroutine or a sync function, and what it calls. Lives as long as its tree."""

    def __init__(self, tree: Tree, level: int) -> None:
        rng = tree.rng
        self.tree = tree
        self.number = tree.count = tree.count + 1
        self.fails = rng.random() < 0.1
        self.rests = rng.choice([0, 0, 0, 0.0005, 0.001, 0.002])
        self.together = rng.random() < 0.4 and tree.branches
        self.handles = rng.random() < 0.2
        self.way = rng.choice(["async_to_sync"] * 6 + ["run"] * 3 + ["new_loop"])
        width = rng.choice([0, 1, 1, 2, 3]) if level < DEPTH else 0
        self.children = [
            (rng.choice(["same", "other", "other"]), Node(tree, level + 1)) for _ in range(width)
        ]

    def size(self, failed: bool = False) -> int:
        """How many nodes answer: those that do not fail."""
        return (not self.fails) + sum(child.size() for _, child in self.children)

    def enter(self) -> int:
        """Check what the caller has set, and set it anew; for the sync and the async form."""
        before = path.get()
        path.set(self.number)
        if getattr(local, "path", 0) != before:
            self.tree.errors.append(f"{self.number}: {before} and {getattr(local, 'path', 0)}")
        local.path = self.number
        return before

    def leave(self, before: int, answered: int) -> int:
        path.set(before)
        local.path = before
        if self.fails:
            raise Failure(answered)
        return answered + 1

    # -- async -------------------------------------------------------------------------------

    async def walk(self) -> int:
        before = self.enter()
        calls = [self.step(kind, child) for kind, child in self.children]
        if self.together:
            answered = sum(await asyncio.gather(*calls))
        else:
            answered = 0
            for call in calls:
                answered += await call
        if self.rests:
            await asyncio.sleep(self.rests)
        return self.leave(before, answered)

    async def step(self, kind: str, child: Node) -> int:
        try:
            if kind == "same":
                return await child.walk()
            return int(await sync_to_async(child.work)())
        except Failure as failure:
            await asyncio.sleep(0)
            return int(failure.args[0])
        finally:
            path.set(self.number)
            local.path = self.number

    # -- sync --------------------------------------------------------------------------------

    def work(self) -> int:
        if threading.current_thread() is not self.tree.thread:
            self.tree.errors.append(f"{self.number} on {threading.current_thread().name}")
        before = self.enter()
        answered = sum(self.take(kind, child) for kind, child in self.children)
        time.sleep(self.rests)
        return self.leave(before, answered)

    def take(self, kind: str, child: Node) -> int:
        try:
            if self.handles:
                try:
                    raise KeyError
                except KeyError:
                    return self.call(kind, child)
            return self.call(kind, child)
        except Failure as failure:
            return int(failure.args[0])
        finally:
            path.set(self.number)
            local.path = self.number

    def call(self, kind: str, child: Node) -> int:
        if kind == "same":
            return child.work()
        if self.way == "run":
            return self.tree.manager.run(child.walk())
        return async_to_sync(child.walk, force_new_loop=self.way == "new_loop")()


class Tree:
    """A view, and all that it calls. Lives as long as the view runs."""

    def __init__(self, manager: AsyncioLoopManager, seed: int) -> None:
        self.manager = manager
        self.rng = random.Random(seed)
        self.branches = seed % 2 == 0
        self.thread = threading.current_thread()
        self.count = 0
        self.errors: list[str] = []
        self.root = Node(self, 0)

    def check(self) -> None:
        """Run it in a context of its own."""
        contextvars.copy_context().run(self.view)
        assert not self.errors, self.errors
        manager = self.manager
        wait_until_idle(manager)

    def view(self) -> None:
        answered = 0
        try:
            answered = async_to_sync(self.root.walk)()
        except Failure as failure:
            answered = failure.args[0]
        assert answered == self.root.size(), (answered, self.root.size())
        assert path.get() == 0


def wait_until_idle(manager: AsyncioLoopManager) -> None:
    """Nothing may be left that the manager takes for work in flight."""
    deadline = time.monotonic() + 10
    while "in_flight=0" not in repr(manager):
        assert time.monotonic() < deadline, manager
        time.sleep(0.001)


class NoLog(logging.Handler):
    """The library has nothing to complain of. Lives as long as the process."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage())


def main(loop: str, mode: str, seed: int) -> None:
    """Run all trees in all threads; print how many calls there were."""
    logging.getLogger("wsgi_async").addHandler(NoLog())
    calls: list[int] = []

    def work(number: int) -> None:
        manager = make(loop)
        for tree_number in range(TREES):
            tree = Tree(manager, seed * 1000003 + number * 1009 + tree_number)
            tree.check()
            calls.append(tree.count)
        manager.stop()

    workers = [worker_for(mode) for _ in range(THREADS)]
    for working in [worker.begin(work, number) for number, worker in enumerate(workers)]:
        outcome(working)
    for worker in workers:
        worker.end()
    print(sum(calls))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
