"""Two threads meet at every line of the core, one line after another.

For each line that a thread comes by there is one encounter: a manager of its own, the thread is
stopped at that line, another thread does something until it is done or blocks, and the first
goes on. What one thread can do to another by coming at the wrong moment is so tried for every
moment.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tests.runners.parts import LIMIT, Worker, make, thread_of, value
from tests.runners.spies import AtLine, SpyPrimitives

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Encounter", "at_every_line"]

P = ParamSpec("P")
T = TypeVar("T")

_FEWEST = 5
"""Lines of the core that any interrupted call goes through; fewer, and the trace is broken."""


class Encounter:
    """What happens at one line. Lives as long as its manager.

    Args:
        line: Which line that the interrupted thread comes by, from 1.
        own: The manager's own thread. The loop lives there, if it can.
        other: Another thread.
        in_keeper: The keeper is interrupted, not the thread in `call()`.
        options: The manager's.
    """

    def __init__(
        self, line: int, own: Worker, other: Worker, *, in_keeper: bool, options: dict[str, Any]
    ) -> None:
        self.own, self.other = own, other
        self.spy = _KeeperSpy(self) if in_keeper else SpyPrimitives()
        self.at = AtLine(line, self._interrupt)
        self.interrupt: Callable[[], object] = lambda: None  # what is done at that line
        self.met: Future[Any] | None = None  # what `meet` has brought
        self._in_keeper = in_keeper
        self._gate = threading.Lock()  # held while interrupting
        self.at.armed = False  # until it is started
        self.manager = own.call(make, self.spy, **options)
        self.loop_thread = thread_of(self.manager)

    def _interrupt(self) -> None:
        with self._gate:
            if self.at.armed:
                self.interrupt()

    def meet(self, worker: Worker, fn: Callable[[], Any]) -> None:
        """At the line: have another thread call something, until that is done or blocks."""
        paused = threading.Event()

        def blocking() -> None:
            if threading.get_ident() == worker.thread.ident:
                paused.set()

        def interrupt() -> None:
            self.spy.blocking = blocking
            self.met = worker.begin(fn)
            self.met.add_done_callback(lambda _: paused.set())
            # Who waits in the loop itself cannot be seen to; then this is a pause, no more.
            paused.wait(0.1)

        self.interrupt = interrupt

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something on the manager's own thread, which is interrupted unless the keeper is."""
        self.at.armed = True
        if self._in_keeper:
            return self.own.call(fn, *args, **kwargs)
        result: T = self.own.call(self.at.during, lambda: fn(*args, **kwargs))
        return result

    def settle(self) -> None:
        """Interrupt nobody any more; what was met is over after this."""
        with self._gate:
            self.at.armed = False
        if self.met is not None:
            self.met.exception(LIMIT)

    def check(self) -> None:
        """The manager is in order: its loop goes on, and nothing is left in flight."""
        assert self.own.call(self.manager.run, value("after")) == "after"
        assert self.spy.overlaps == 0
        assert self.spy.threads == {self.loop_thread}
        assert "in_flight=0" in self.own.call(repr, self.manager)

    def close(self) -> None:
        """Stop the manager."""
        self.settle()
        self.manager.stop(LIMIT / 2)


class _KeeperSpy(SpyPrimitives):
    """Starts the keeper so that it is interrupted."""

    def __init__(self, encounter: Encounter) -> None:
        super().__init__()
        self._encounter = encounter

    def start_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        if "keeper" not in name:
            return super().start_thread(target, name)
        return super().start_thread(lambda: self._encounter.at.during(target), name)


def at_every_line(
    body: Callable[[Encounter], None],
    place: str,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> None:
    """Have one encounter after another, until the interrupted thread comes by no further line.

    Args:
        body: Says who does what, and checks what comes of it.
        place: Who is interrupted: the "caller" of a keeper, that "keeper", or a "resident" thread,
            which is both in one.
        loop_factory: The managers'.
    """
    options = {"loop_factory": loop_factory}
    own, other = Worker("own", resident=place == "resident"), Worker("other")
    for line in itertools.count(1):
        encounter = Encounter(line, own, other, in_keeper=place == "keeper", options=options)
        try:
            body(encounter)
            encounter.settle()
            if encounter.manager.running:
                encounter.check()
            encounter.close()
        except BaseException as error:
            error.add_note(f"when interrupted at its line {line}: {encounter.at.where}")
            raise
        if encounter.at.where is None:
            break
    own.end()
    other.end()
    assert line > _FEWEST
