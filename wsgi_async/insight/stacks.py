"""Where a thread is, and where a coroutine waits, as lists of frames.

Nothing here runs in the thread or on the loop that is looked at.
"""

from __future__ import annotations

import gc
import linecache
import sys
import threading
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "Frame",
    "await_chain",
    "format_frames",
    "frames_of_threads",
    "thread_name",
    "thread_stack",
]

_DEEPEST = 100
"""Frames. What lies deeper is left out."""


class Frame(TypedDict):
    """One line of a stack."""

    function: str
    file: str
    line: int


def thread_stack(ident: int | None) -> list[Frame]:
    """Where a thread is: its frames, the outermost first; nothing for one that has ended.

    From any thread. At most the innermost 100.
    """
    frame = None if ident is None else frames_of_threads().get(ident)
    found: list[Frame] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append(_of(frame))
        frame = frame.f_back
    return found[::-1]


def frames_of_threads() -> dict[int, FrameType]:
    """Where all threads are, by ident. It stops them meanwhile, on free-threaded builds."""
    # It allocates while it holds a lock of the interpreter's. A collection in that moment may want
    # the same lock, for a thread-local that is garbage: a deadlock of the whole process.
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    finally:
        if collects:
            gc.enable()


def await_chain(awaited: object) -> list[Frame]:
    """Where a coroutine waits: itself, what it awaits, and so on to the last one with a frame.

    For a coroutine that nobody steps meanwhile: on its loop's thread, or of a loop that stands
    still.
    """
    found: list[Frame] = []
    current: Any = awaited
    while current is not None and len(found) < _DEEPEST:
        frame, current = _step(current)
        if frame is not None:
            found.append(_of(frame))
    return found


def _step(awaited: Any) -> tuple[FrameType | None, object]:
    """The frame of something that is awaited, and what it awaits itself."""
    if isinstance(awaited, CoroutineType):
        return awaited.cr_frame, awaited.cr_await
    if isinstance(awaited, GeneratorType):
        generator: Any = awaited  # pyright: ignore[reportUnknownVariableType]
        return generator.gi_frame, generator.gi_yieldfrom
    # Coroutines of other makes, such as Cython's, tell as much.
    return getattr(awaited, "cr_frame", None), getattr(awaited, "cr_await", None)


def _of(frame: FrameType) -> Frame:
    code = frame.f_code
    # A frame that is just being left has no line.
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
