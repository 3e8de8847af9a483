"""What the watchdog's tests are made of: its reports, and looks that nobody has to guess."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.core.support import LIMIT, fail_with_stacks, give, reached, wait_until
from wsgi_async.core.managers.manager import lifecycle_of
from wsgi_async.insight import sampler

if TYPE_CHECKING:
    from wsgi_async import AsyncioLoopManager
    from wsgi_async.insight.progress import Watched
    from wsgi_async.watchdog import Frame, Report

BLOCKED_AFTER = 0.1
"""Seconds, for the tests' watchdogs."""


class Reports:
    """Takes reports; each that a test waits for lets it go on."""

    def __init__(self) -> None:
        self.all: list[Report] = []
        self._news = threading.Condition()

    def __call__(self, report: Report) -> None:
        with self._news:
            self.all.append(report)
            self._news.notify_all()

    def of(self, kind: str) -> list[Report]:
        return [each for each in self.all if each.kind == kind]

    def wait(self, kind: str, count: int = 1, by: str = "") -> Report:
        """The report of this kind that comes as number `count`.

        With `by`, of those that name this coroutine only. A busy machine can keep any loop from
        its turn, and that is reported as well.
        """

        def seen() -> list[Report]:
            return [each for each in self.of(kind) if by in ("", each.coroutine)]

        with self._news:
            if not self._news.wait_for(lambda: len(seen()) >= count, LIMIT):
                fail_with_stacks(f"no such {kind!r}, only {self.all}")
            return seen()[count - 1]


class _Looks:
    """Counts the sampler's looks."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._since = 0.0
        self.done = threading.Event()

    def look(self, now: float, loops: list[Watched]) -> None:
        self._left -= 1
        self._since = self._since or now
        if self._left < 0 and now - self._since > 2 * BLOCKED_AFTER:
            self.done.set()

    def forget(self) -> None:
        pass


def looked(count: int = 4) -> None:
    """Wait until the watchdog has looked so often, and for twice the time of a block."""
    looks = _Looks(count)
    sampler.add(looks)
    try:
        reached(looks.done)
    finally:
        sampler.remove(looks)


def asleep(manager: AsyncioLoopManager) -> None:
    """Wait until a loop sleeps, after all that was handed to it before."""
    manager.run(give(1))
    runner = lifecycle_of(manager).runner
    assert runner is not None
    selector = runner.live.selector
    assert selector is not None
    wait_until(lambda: selector.asleep, "the loop does not sleep")


def functions(frames: tuple[Frame, ...]) -> list[str]:
    """The last parts of the names of the functions in a stack."""
    return [frame["function"].split(".")[-1] for frame in frames]
