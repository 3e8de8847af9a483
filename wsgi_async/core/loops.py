"""Event loops: how one is made, how it is watched from outside, how it is guarded.

Only public asyncio is used. Where more must be known than a loop tells, our own selector under
asyncio's public `SelectorEventLoop(selector)` tells it; other loops do without.
"""

from __future__ import annotations

import asyncio
import contextvars
import select
import selectors
import socket
import time
from typing import TYPE_CHECKING, Any

from .log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BoundLoop", "WatchedSelector", "make_loop", "may_change_thread"]

_POLL_INTERVAL = 0.001
"""Seconds in which calls that come back to back share one look for input and output."""

_GUARDED = (
    "run_forever",
    "run_until_complete",
    "close",
    "stop",
    "add_signal_handler",
    "call_soon_threadsafe",
)


class WatchedSelector(selectors.DefaultSelector):
    """The platform's best selector, which can ask before it blocks. Lives as long as its loop.

    Only the thread that drives the loop touches it, but for `fileno()`.
    """

    first_turn = False
    """Set before a visit: the loop may have been polled a moment ago, by the last visit."""
    _poll_again = 0.0
    _turns_left = 0

    def leave_soon(self, stop: Callable[[], None], turns: int) -> None:
        """End the visit as soon as nothing is ready, and after so many turns of the loop at last.

        Args:
            stop: Ends it in the turn in which it is called.
            turns: At least one, counted from the next.
        """
        self._stop, self._turns_left = stop, turns

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the base class, but for a visit's first turn when something is ready anyway.

        Then what came in on sockets is looked for once in a millisecond, however many calls
        there are. A poll is a system call that gives up the GIL: for a call of a few
        microseconds that is an eighth of its time alone, and more beside other threads.
        """
        if self._turns_left:
            self._turns_left -= 1
            if timeout != 0:
                self._turns_left = 0
                self._stop()
                return []  # whoever comes next looks at the sockets
            if not self._turns_left:
                self._stop()
        if self.first_turn:
            self.first_turn = False
            if timeout == 0:
                now = time.monotonic()
                if now < self._poll_again:
                    return []
                self._poll_again = now + _POLL_INTERVAL
        return super().select(timeout)

    def ask(
        self,
        may_idle: Callable[[], bool],
        idle: Callable[[float | None], None],
        woken: Callable[[], None],
    ) -> None:
        """Before each wait from now on, ask whether to leave the loop rather than to block.

        On the instance, and only while the keeper drives: a caller's turns of the loop pay
        nothing for it.

        Args:
            may_idle: Whether to leave if nothing is ready.
            idle: Called then, with the seconds to the loop's next timer, or None without one.
            woken: Called after each wait. What it puts on the loop runs in the same turn.
        """
        wait = super().select

        def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout == 0 or not may_idle():
                events = wait(timeout)
                woken()
                return events
            events = wait(0)
            if not events:
                idle(timeout)
            return events

        setattr(self, "select", select)  # noqa: B010 - a method, as far as types go

    def ask_no_more(self) -> None:
        """Just block from now on."""
        vars(self).pop("select", None)


def make_loop(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> tuple[asyncio.AbstractEventLoop, WatchedSelector | None]:
    """Make a loop, and its selector where it is ours.

    In an empty context: a loop's own self-pipe handle keeps the context that it was made in.

    Raises:
        TypeError: The factory made something else.
    """
    context = contextvars.Context()
    if factory is not None:
        return _checked(context.run(factory)), None
    selector = WatchedSelector()
    if not (hasattr(selector, "fileno") and hasattr(select, "poll")):
        selector.close()
        return context.run(asyncio.new_event_loop), None
    try:
        # A loop that fails half-way complains when it is collected: see that it gets its sockets.
        for probe in socket.socketpair():
            probe.close()
        return context.run(asyncio.SelectorEventLoop, selector), selector
    except BaseException:
        selector.close()  # out of descriptors, most likely: keep none of them
        raise


def _checked(loop: object) -> asyncio.AbstractEventLoop:
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"loop_factory returned {loop!r}. It has to return an event loop.")
    return loop


def may_change_thread(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop of this class is known to bear being run by one thread after another."""
    return isinstance(loop, asyncio.BaseEventLoop) or any(
        cls.__module__.partition(".")[0] == "uvloop" for cls in type(loop).__mro__
    )


class BoundLoop:
    """A loop's own methods, bound before they were guarded. Lives as long as the loop is open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.raw = loop
        self.run_forever = loop.run_forever
        self.stop = loop.stop
        self.close = loop.close
        self.create_task = loop.create_task
        self.call_later = loop.call_later
        self.call_soon_threadsafe = loop.call_soon_threadsafe

    def guard(self, label: Callable[[], str], poke: Callable[[], None]) -> None:
        """Put our own in the place of what would break the baton.

        On the instance, so no other loop is touched; a loop class without room for that (an
        extension type) goes unguarded.

        Args:
            label: Tells what to call the manager in messages.
            poke: Told after each `call_soon_threadsafe`; takes no lock.
        """
        for name, substitute in _substitutes(self, label, poke).items():
            try:
                setattr(self.raw, name, substitute)
            except AttributeError:
                return

    def unguard(self) -> None:
        """Give the loop its own methods back."""
        for name in _GUARDED:
            try:
                delattr(self.raw, name)
            except AttributeError:
                pass

    def give_back(self) -> None:
        """Close the loop, with its own methods in place again.

        Raises:
            Exception: What the loop's `close()` raises.
        """
        self.unguard()
        self.close()


def _substitutes(
    loop: BoundLoop, label: Callable[[], str], poke: Callable[[], None]
) -> dict[str, Any]:
    def refuse_to_run(*args: Any) -> None:
        for arg in args:
            if asyncio.iscoroutine(arg):
                arg.close()
        raise RuntimeError(
            f"This event loop is run by {label()}. Use the manager's run() or submit_task()."
        )

    def refuse_to_close() -> None:
        raise RuntimeError(f"This event loop is closed by {label()}. Use the manager's stop().")

    def refuse_signals(*_: Any) -> None:
        raise RuntimeError(
            f"This event loop, run by {label()}, does not always run in the main thread. "
            "Use signal.signal() there."
        )

    said: list[bool] = []

    def ignore_stop() -> None:
        if not said:
            said.append(True)
            logger.warning(
                "loop.stop() was called on the event loop of %s and ignored; "
                "use the manager's stop()",
                label(),
                stack_info=True,
            )

    def call_soon_threadsafe(*args: Any, **kwargs: Any) -> Any:
        handle = loop.call_soon_threadsafe(*args, **kwargs)
        poke()
        return handle

    refusals = [refuse_to_run, refuse_to_run, refuse_to_close, ignore_stop, refuse_signals]
    return dict(zip(_GUARDED, [*refusals, call_soon_threadsafe], strict=True))
