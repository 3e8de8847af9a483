"""Primitives that watch a loop's threads, and that let a test step in where these meet."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wsgi_async.core
from wsgi_async.core.base.primitives import Primitives, ThreadWakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["AtLine", "SpyPrimitives"]

_CORE = str(Path(wsgi_async.core.__file__).parent)


def _nothing() -> None:
    pass


class SpyPrimitives(Primitives):
    """The real ones, which note who holds the mutex and who is inside the loop.

    The hooks are called in the thread that comes by, never while it is in a hook already:
    `inside` once the mutex is held, `blocking` before a thread blocks on a wake-up or the mutex.
    """

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()  # those that have entered the loop
        self.running: list[int] = []  # those that are inside it now
        self.overlaps = 0
        self.escaped: list[BaseException] = []  # what came out of the loop
        self.inside: Callable[[], None] = _nothing
        self.blocking: Callable[[], None] = _nothing
        self._here = threading.local()

    def held(self) -> bool:
        """Whether the current thread holds a mutex of these."""
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

    def mutex(self) -> _SpyMutex:
        return _SpyMutex(self)

    def wakeup(self) -> _SpyWakeup:
        return _SpyWakeup(self)

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        def enter() -> None:
            me = self.current()
            self.overlaps += bool(self.running)
            self.running.append(me)
            self.threads.add(me)
            try:
                run_forever()
            except BaseException as error:
                self.escaped.append(error)
                raise
            finally:
                self.running.remove(me)

        return enter


class _SpyMutex:
    """A mutex that knows whether its thread holds it."""

    def __init__(self, spy: SpyPrimitives) -> None:
        self._spy = spy
        self._lock = threading.RLock()

    def __enter__(self) -> bool:
        spy = self._spy
        if not self._lock.acquire(blocking=False):
            spy.hook(spy.blocking)
            self._lock.acquire()
        spy._here.depth = getattr(spy._here, "depth", 0) + 1
        spy.hook(spy.inside)
        return True

    def __exit__(self, *failure: object) -> None:
        self._spy._here.depth -= 1
        self._lock.release()


class _SpyWakeup(ThreadWakeup):
    """A wake-up that tells when somebody is about to block on it."""

    __slots__ = ("_spy",)

    def __init__(self, spy: SpyPrimitives) -> None:
        super().__init__()
        self._spy = spy

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(0):
            return True
        if timeout is not None and timeout <= 0:
            return False
        self._spy.hook(self._spy.blocking)
        return super().wait(timeout)


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
