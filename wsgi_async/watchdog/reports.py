"""The watchdog's reports: names, times and lines of code, without any values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

import wsgi_async.core
from wsgi_async.insight.stacks import Frame, format_frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Kind", "Report", "before_waiting", "from_callback", "is_idle", "text_of"]

Kind = Literal["loop_blocked", "tasks_standing", "turning_again", "long_wait", "lost_wakeup"]
"""The kinds of reports."""

_SHOWN = 30
"""The most frames of one stack in the log; the innermost ones are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report of the watchdog.

    It has no arguments and no values of your code. A frame is a dictionary with `function`, `file`
    and `line`.
    """

    kind: Kind
    """`"loop_blocked"`: a coroutine blocks its event loop. `"tasks_standing"`: a worker thread is
    busy with something other than its loop, and tasks wait for it. `"turning_again"`: one of the
    two is over. `"long_wait"`: a thread has been waiting a long time for a call. `"lost_wakeup"`:
    code shares an asyncio object between threads."""
    manager: str
    """The manager, as the log names it."""
    thread: str | None
    """The name of the loop's thread; for `"long_wait"` that of the thread that waits."""
    coroutine: str | None
    """The name of the coroutine, or of several tasks."""
    request: str | None = None
    """The method and path of the request that the coroutine runs for."""
    seconds: float = 0.0
    """How long it has lasted."""
    stack: tuple[Frame, ...] = ()
    """Where `thread` is, the outermost frame first."""
    loop_stack: tuple[Frame, ...] = ()
    """Where the loop's thread is, for `"long_wait"`."""
    chain: tuple[Frame, ...] = ()
    """Where the coroutine waits: the coroutine, what it awaits, and so on, for `"long_wait"`."""
    text: str = ""
    """The whole report, as it is logged."""


def text_of(first: str, parts: Iterable[tuple[str, Sequence[Frame]]]) -> str:
    """The text of a report: a line for people, and the stacks below it."""
    lines = [first]
    for title, frames in parts:
        if frames:
            lines += [title] * bool(title)
            lines.append(format_frames(list(frames[-_SHOWN:])))
    return "\n".join(lines)


def from_callback(frames: list[Frame]) -> tuple[Frame, ...]:
    """The part of a loop's stack that begins with the called function, or in the loop's code."""
    begins = 0
    for index, frame in enumerate(frames):
        if (frame["function"], PurePath(frame["file"]).name) in _ABOVE:
            begins = index + 1
    return tuple(frames[begins:])


def before_waiting(frames: list[Frame]) -> tuple[Frame, ...]:
    """The part of a waiting thread's stack up to the call of this library."""
    ends = len(frames)
    while ends and frames[ends - 1]["file"].startswith(_CORE):
        ends -= 1
    return tuple(frames[:ends])


def is_idle(frames: Sequence[Frame]) -> bool:
    """Whether a loop's thread waits for events, judging by its stack."""
    return any(frame["function"].endswith("Selector.select") for frame in frames)


_CORE = str(Path(wsgi_async.core.__file__).parent)

_ABOVE = {
    ("BaseEventLoop.run_forever", "base_events.py"),
    ("Handle._run", "events.py"),
    ("LoopEntry.enter", "entering.py"),
    ("LiveLoop._follow", "live_loop.py"),
}
"""Frames, of asyncio and ours, that are the same for everything that a loop calls."""
