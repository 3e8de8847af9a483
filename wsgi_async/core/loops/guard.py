"""A guard around the methods of a manager's loop that user code must not call."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.log import report
from wsgi_async.core.messages.advice import instead_of_waiting
from wsgi_async.core.messages.errors import RunningLoopError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["BoundLoop"]

# Made once instead of for each loop, because the interpreter keeps names that are looked up.
_GUARDED = {
    name: f"_{name}"
    for name in (
        "run_forever",
        "run_until_complete",
        "close",
        "stop",
        "add_signal_handler",
        "set_default_executor",
    )
}

_DEBUG = ("call_soon", "call_later", "call_at")
"""Methods that asyncio refuses to other threads, in debug mode only."""

_AWAIT = "await the coroutine itself"
_INSTEAD = (
    "Use the manager's run() or submit_task(). If a sync function of an SDK does this, set "
    "adopt=True where you set up wsgi_async."
)


class BoundLoop:
    """A loop's own methods, bound before they were guarded. Lives as long as the loop is open.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.raw = loop
        self.run_forever = loop.run_forever
        self.run_until_complete = loop.run_until_complete
        self.stop = loop.stop
        self.close = loop.close
        self.create_task = loop.create_task
        self.call_soon_threadsafe = loop.call_soon_threadsafe
        self.set_default_executor = loop.set_default_executor
        # No lock: set by user code, mostly in on_start, and read at a stop.
        self.executor: ThreadPoolExecutor | None = None  # what the user has set instead of ours
        self.thread = ""  # the name of the keeper's thread, if the loop has a keeper
        self._seconds = 0.0
        self._closer: int | None = None  # the thread that closes the loop right now
        self._label: Callable[[], str] = lambda: repr(loop)
        self._stop_reported = False

    def guard(self, label: Callable[[], str]) -> None:
        """Replace the methods that would break the manager with our own.

        They are set on the instance, so no other loop is affected. A loop class that does not let
        attributes be set (an extension type) stays unguarded.

        Args:
            label: Returns the manager's name for messages.
        """
        self._label = label
        for name, ours in _GUARDED.items():
            try:
                setattr(self.raw, name, getattr(self, ours))
            except AttributeError:
                return
        for name in _DEBUG if self.raw.get_debug() else ():
            setattr(self.raw, name, self._naming_threads(getattr(self.raw, name)))

    def give_back(self, seconds: float = 0.0) -> None:
        """Close the loop, with the `close()` that it has by now.

        A library may have replaced `close()` with a function that closes the library's connections
        with `run_until_complete()`. That function then calls the previous `close()`, which is ours.

        Args:
            seconds: How long each `run_until_complete()` may take.

        Raises:
            Exception: What a `close()` raised. The loop is closed anyway.
        """
        self._seconds = seconds
        self._closer = threading.get_ident()
        try:
            self.raw.close()
        finally:
            self._closer = None
            self._unguard()
            self.close()  # does nothing if it is closed already

    def _unguard(self) -> None:
        for name in (*_GUARDED, *_DEBUG):
            if name in getattr(self.raw, "__dict__", ()):
                delattr(self.raw, name)

    @property
    def _closing(self) -> bool:
        return self._closer == threading.get_ident()

    def _run_forever(self) -> None:
        raise self._refusal()

    def _run_until_complete(self, future: Any) -> Any:
        if self._closing:
            # It may call the guarded run_forever() and stop() itself.
            self._unguard()
            try:
                return self._run_bounded(future)
            finally:
                self._guard_again()
        if asyncio.iscoroutine(future):
            future.close()
        raise self._refusal()

    def _run_bounded(self, future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=self.raw)
        timers = [
            self.raw.call_later(self._seconds, task.cancel),
            self.raw.call_later(2 * self._seconds, self.stop),
        ]
        try:
            return self.run_until_complete(task)
        except asyncio.CancelledError:
            raise TimeoutError(
                f"A function in the place of close() did not end within {self._seconds:.1f} s."
            ) from None
        finally:
            for timer in timers:
                timer.cancel()

    def _guard_again(self) -> None:
        # `close` is a library's by now, and calls ours.
        for name, ours in _GUARDED.items():
            if name != "close":
                setattr(self.raw, name, getattr(self, ours))

    def _refusal(self) -> RunningLoopError:
        return RunningLoopError(
            f"This event loop is run by {self._label()}. "
            + (instead_of_waiting(_AWAIT) if running_loop() is not None else _INSTEAD)
        )

    def _close(self) -> None:
        if not self._closing:
            raise RunningLoopError(
                f"This event loop is closed by {self._label()}. Use the manager's stop()."
            )
        self.close()

    def _add_signal_handler(self, *_: object) -> None:
        raise RunningLoopError(
            f"This event loop, run by {self._label()}, does not run in the main thread. "
            "Use signal.signal() there."
        )

    def _set_default_executor(self, executor: ThreadPoolExecutor) -> None:
        self.set_default_executor(executor)  # raises if it cannot be used
        self.executor = executor

    def _naming_threads(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except RuntimeError as error:
                self._name_threads(error)
                raise

        return call

    def _name_threads(self, error: RuntimeError) -> None:
        """Add a note to the error: which thread has called the loop of which other thread."""
        running = running_loop()
        if running is self.raw or self.raw.is_closed() or hasattr(error, "__notes__"):
            return  # it is another error, or an inner one of these methods has added the note
        owner = getattr(getattr(running, "stop", None), "__self__", None)
        whose = f", the event loop of {owner._label()}" if isinstance(owner, BoundLoop) else ""  # noqa: SLF001 - of this class
        runs = f", which runs on the thread {self.thread!r}" if self.thread else ""
        here = threading.current_thread().name
        error.add_note(
            f"wsgi_async: the call came from the thread {here!r}{whose}. "
            f"The loop that was called is that of {self._label()}{runs}."
        )

    def _stop(self) -> None:
        if self._stop_reported:
            return
        self._stop_reported = True
        report(
            logging.WARNING,
            "loop.stop() was called on the event loop of %s and ignored; use the manager's stop()",
            self._label(),
            stack=True,
        )
