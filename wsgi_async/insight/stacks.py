"""Where a thread is, and where a coroutine waits, as lists of frames.

Nothing here runs on the thread or the loop that it looks at.
"""

from __future__ import annotations

import gc
import linecache
import sys
import threading
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypedDict

from wsgi_async.core.jobs.job import ActorCall

if TYPE_CHECKING:
    from types import FrameType

    from wsgi_async.core.jobs.job import Job

__all__ = [
    "Frame",
    "await_chain",
    "chain_of",
    "format_frames",
    "frames_of_threads",
    "thread_name",
    "thread_stack",
]

_DEEPEST = 100
"""The most frames of one list. The rest is left out."""

_AWAITABLES = {
    "async_generator_asend",
    "async_generator_athrow",
    "anext_awaitable",
    "coroutine_wrapper",
}
"""What `async for`, `anext()` and a coroutine's `__await__()` return, by type.

They have no attribute that leads on. Many clients return the last one from their own `__await__()`.
"""


class Frame(TypedDict):
    """One line of a stack."""

    function: str
    file: str
    line: int


def thread_stack(ident: int | None) -> list[Frame]:
    """Where a thread is: its frames, the outermost first; empty if the thread has ended.

    From any thread. Contains at most the innermost 100 frames.
    """
    frame = None if ident is None else frames_of_threads().get(ident)
    found: list[Frame] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append(_of(frame))
        frame = frame.f_back
    return found[::-1]


def frames_of_threads() -> dict[int, FrameType]:
    """The frames of all threads, by ident. On free-threaded builds, this stops all threads."""
    # `_current_frames()` allocates while it holds a lock of the interpreter. If that starts a
    # garbage collection, and it frees a thread-local, it needs the same lock: the process would
    # deadlock.
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    finally:
        if collects:
            gc.enable()


def await_chain(awaited: object) -> list[Frame]:
    """Where a coroutine waits: itself, what it awaits, and so on to the last one with a frame.

    For a coroutine that does not run meanwhile: on its loop's thread, or if its loop stands still.
    """
    found: list[Frame] = []
    current: Any = awaited
    while current is not None and len(found) < _DEEPEST:
        frame, current = _step(current)
        if frame is not None:
            found.append(_of(frame))
    return found


def chain_of(job: Job) -> list[Frame]:
    """Where the coroutine of a call waits, or the stream or context manager that it is made to."""
    if not isinstance(job, ActorCall):
        return await_chain(job.coro)
    task = job.task  # read once: the loop sets it to None
    return [] if task is None else await_chain(task.get_coro())


def _step(awaited: Any) -> tuple[FrameType | None, object]:
    """The frame of an awaited object, and the object that it awaits itself."""
    if isinstance(awaited, CoroutineType):
        return awaited.cr_frame, awaited.cr_await
    if isinstance(awaited, GeneratorType):
        generator: Any = awaited  # pyright: ignore[reportUnknownVariableType]
        return generator.gi_frame, generator.gi_yieldfrom
    if isinstance(awaited, AsyncGeneratorType):
        stream: Any = awaited  # pyright: ignore[reportUnknownVariableType]
        return stream.ag_frame, stream.ag_await
    if type(awaited).__name__ in _AWAITABLES:
        return None, _behind(awaited)
    # Coroutines of other types, such as Cython's, have the same attributes.
    return getattr(awaited, "cr_frame", None), getattr(awaited, "cr_await", None)


def _behind(awaited: object) -> object:
    """What an awaitable continues or wraps: an async generator, a coroutine, or another one."""
    return next((held for held in gc.get_referents(awaited) if _leads_on(held)), None)


def _leads_on(held: object) -> bool:
    return (
        isinstance(held, (CoroutineType, AsyncGeneratorType)) or type(held).__name__ in _AWAITABLES
    )


def _of(frame: FrameType) -> Frame:
    code = frame.f_code
    # A frame that is just being left has no line number.
    return {
        "function": code.co_qualname,
        "file": code.co_filename,
        "line": frame.f_lineno or code.co_firstlineno,
    }


def thread_name(ident: int | None) -> str:
    """The name of a thread that is alive; its ident for one that `threading` does not know."""
    for thread in threading.enumerate():
        if thread.ident == ident:
            return thread.name
    return str(ident)


def format_frames(frames: list[Frame], indent: str = "  ") -> str:
    """Frames as a traceback shows them, with the text of each line where it can be read."""
    lines: list[str] = []
    for frame in frames:
        lines.append(
            f'{indent}File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}'
        )
        text = linecache.getline(frame["file"], frame["line"]).strip()
        if text:
            lines.append(f"{indent}  {text}")
    return "\n".join(lines)
