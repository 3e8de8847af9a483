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
from unittest.mock import patch

from tests.driver.parts import FAR, LIMIT, Worker, keeper_of, make, value
from tests.driver.seams import AtLine, SpySeam
from wsgi_async.core import futures, timer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")

_FEWEST = 5
"""Lines of the core that any interrupted call goes through; fewer, and the trace is broken."""


class Encounter:
    """What happens at one line. Lives as long as its manager, whose linger no test lives to see.

    Args:
        line: Which line that the interrupted thread comes by, from 1.
        own: The manager's own thread.
        other: Another thread.
        in_keeper: The keeper is interrupted, not the thread in `call()`.
        options: The manager's.
    """

    def __init__(
        self, line: int, own: Worker, other: Worker, *, in_keeper: bool, options: dict[str, Any]
    ) -> None:
        self.own, self.other = own, other
        self.seam = _KeeperSeam(self) if in_keeper else SpySeam()
        self.at = AtLine(line, self._interrupt)
        self.interrupt: Callable[[], object] = lambda: None  # what is done at that line
        self.met: Future[Any] | None = None  # what `meet` has brought
        self._in_keeper = in_keeper
        self._ready = threading.Event()
        self._gate = threading.Lock()  # held while interrupting
        self.manager = own.call(make, self.seam, linger=FAR, **options)

    def _interrupt(self) -> None:
        self._ready.wait(LIMIT)
        with self._gate:
            if self.at.armed:
                self.interrupt()

    def meet(self, worker: Worker, fn: Callable[[], Any], *, or_keeper: bool = False) -> None:
        """At the line: have another thread call something, until that is done or blocks.

        With `or_keeper` it is enough that the keeper, which is to do something for it, blocks.
        """
        paused = threading.Event()
        threads = {worker.ident, keeper_of(self.manager)} if or_keeper else {worker.ident}

        def blocking() -> None:
            if threading.get_ident() in threads:
                paused.set()

        def interrupt() -> None:
            self.seam.blocking = blocking
            self.met = worker.submit(fn)
            self.met.add_done_callback(lambda _: paused.set())
            # Who waits in the loop itself cannot be seen to; then this is a pause, no more.
            paused.wait(0.1)

        self.interrupt = interrupt

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something on the manager's own thread, which is interrupted unless the keeper is."""
        return self.submit(fn, *args, **kwargs).result(LIMIT)

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `call()`, without waiting."""
        self._ready.set()
        if self._in_keeper:
            return self.own.submit(fn, *args, **kwargs)
        return self.own.submit(self.at.during, lambda: fn(*args, **kwargs))

    def settle(self) -> None:
        """Interrupt nobody any more; what was met is over after this."""
        self._ready.set()
        with self._gate:
            self.at.armed = False
        if self.met is not None:
            self.met.exception(LIMIT)

    def check(self) -> None:
        """The manager is in order: nobody has lost the baton, nothing is left in flight."""
        assert self.own.call(self.manager.run, value("after")) == "after"
        assert self.seam.overlaps == 0
        assert "in_flight=0" in self.own.call(repr, self.manager)

    def close(self) -> None:
        """Stop the manager."""
        self.settle()
        self.manager.stop(LIMIT / 2)
        if self.manager.state == "stopped":
            timer._shared.pop(self.seam, None)  # thousands of them would slow every collection down


class _KeeperSeam(SpySeam):
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
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    *,
    in_keeper: bool = False,
    **options: Any,
) -> None:
    """Have one encounter after another, until the interrupted thread comes by no further line.

    Args:
        body: Says who does what, and checks what comes of it.
        loop_factory: The managers'.
        in_keeper: The keeper is interrupted, not the thread in `Encounter.call()`.
        options: The managers'.
    """
    options["loop_factory"] = loop_factory
    own, other = Worker("own"), Worker("other")
    for line in itertools.count(1):
        encounter = Encounter(line, own, other, in_keeper=in_keeper, options=options)
        try:
            with patch.object(futures, "_seam", encounter.seam):  # so that waiters are seen too
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
