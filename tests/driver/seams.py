"""Seams that watch the driver, and that let a test step in where threads meet."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgi_async.core.seam import Seam, Signal

import wsgi_async.core

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_CORE = str(Path(wsgi_async.core.__file__).parent)


def _nothing() -> None:
    pass


class SpySeam(Seam):
    """The real seam, which notes who holds the mutex and who is inside the loop.

    The hooks are called in the thread that comes by, never while it is in a hook already:
    `entering` before the mutex is taken, `inside` once it is held, `left` when it is free again,
    `visited` after each visit of the loop, `blocking` before a thread blocks on a wake-up call or
    on the mutex, `on_timeout` when a wake-up call has not come in time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.visits: list[int] = []  # the threads that entered the loop, in order
        self.running: list[int] = []  # the threads that are inside it now
        self.overlaps = 0
        self.escaped: list[BaseException] = []  # what came out of a visit
        self.entering: Callable[[], None] = _nothing
        self.inside: Callable[[], None] = _nothing
        self.visited: Callable[[], None] = _nothing
        self.left: Callable[[], None] = _nothing
        self.blocking: Callable[[], None] = _nothing
        self.on_timeout: Callable[[], None] = _nothing
        self.timed_out = False  # somebody's wait for a wake-up call ended without one
        self.opens: Callable[[], object] = _nothing  # what a test has to do in the end
        self.watching = threading.Event()  # the keeper watches the loop's descriptor
        self._here = threading.local()

    def held(self) -> bool:
        """Whether the current thread holds a mutex of this seam."""
        return bool(getattr(self._here, "depth", 0))

    def hook(self, hook: Callable[[], None]) -> None:
        """Call a hook, unless this thread is in one."""
        if getattr(self._here, "hooked", False):
            return
        self._here.hooked = True
        try:
            hook()
        finally:
            self._here.hooked = False

    def mutex(self) -> SpyMutex:
        return SpyMutex(self)

    def signal(self) -> Signal:
        return SpySignal(self)

    def watch(self, fileno: int, timeout: float | None) -> None:
        self.watching.set()
        try:
            super().watch(fileno, timeout)
        finally:
            self.watching.clear()

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        def enter() -> None:
            me = self.current()
            self.overlaps += bool(self.running)
            self.running.append(me)
            self.visits.append(me)
            try:
                run_forever()
            except BaseException as error:
                self.escaped.append(error)
                raise
            finally:
                self.running.remove(me)
                self.hook(self.visited)

        return enter


class SpyMutex:
    """A mutex that knows whether its thread holds it."""

    def __init__(self, seam: SpySeam) -> None:
        self._seam = seam
        self._lock = threading.RLock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As a lock's own."""
        seam = self._seam
        seam.hook(seam.entering)
        if not self._lock.acquire(blocking=False):
            seam.hook(seam.blocking)
            self._lock.acquire()
        seam._here.depth = getattr(seam._here, "depth", 0) + 1
        seam.hook(seam.inside)
        return True

    def release(self) -> None:
        """As a lock's own."""
        self._seam._here.depth -= 1
        self._lock.release()
        self._seam.hook(self._seam.left)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *failure: object) -> None:
        self.release()


class SpySignal(Signal):
    """A wake-up call that tells when somebody is about to block on it."""

    __slots__ = ("_seam",)

    def __init__(self, seam: SpySeam) -> None:
        super().__init__()
        self._seam = seam

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(0):
            return True
        if timeout is not None and timeout <= 0:
            return False
        self._seam.hook(self._seam.blocking)
        woken = super().wait(timeout)
        if not woken:
            self._seam.timed_out = True
            self._seam.hook(self._seam.on_timeout)
        return woken


class AtLine:
    """Calls an action once, when its thread comes to the nth line of the core.

    Install it with `sys.settrace` in the thread. The action runs between two lines, as a
    destructor or a signal handler would; what it raises is raised there.
    """

    def __init__(self, line: int, action: Callable[[], None]) -> None:
        self.left = line
        self.action = action
        self.where: str | None = None  # where it was called
        self.armed = True

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if self.where is not None or not frame.f_code.co_filename.startswith(_CORE):
            return None
        return self.line

    def line(self, frame: FrameType, event: str, arg: object) -> Any:
        """Count one line of a frame."""
        if event != "line" or self.where is not None or not self.armed:
            return self.line
        self.left -= 1
        if self.left == 0:
            name = Path(frame.f_code.co_filename).name
            self.where = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
            self.action()
        return self.line

    def during(self, fn: Callable[[], Any]) -> Any:
        """Call something in this thread with the trace on."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return fn()
        finally:
            sys.settrace(before)
