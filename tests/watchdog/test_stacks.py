"""Looking at stacks is safe at any moment."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any

from tests.core.support import in_process, say
from wsgi_async.insight.stacks import format_frames, thread_name, thread_stack


def child_looks() -> None:
    """Garbage with thread-locals comes up all the time, and is collected at each allocation."""

    def make_garbage() -> None:
        while True:
            garbage: list[Any] = [threading.local()]
            garbage[0].value = garbage
            garbage.append(garbage)
            time.sleep(0)

    def go_deep(depth: int) -> None:
        if depth:
            go_deep(depth - 1)
        else:
            time.sleep(0.001)

    def be_deep() -> None:
        while True:
            go_deep(50)

    for target in (make_garbage,) * 3 + (be_deep,) * 5:
        threading.Thread(target=target, daemon=True).start()
    gc.set_threshold(5)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        thread_stack(0)  # of no thread: the look alone
    assert gc.isenabled()
    say("looked")
    os._exit(0)


def test_a_collection_while_stacks_are_looked_at() -> None:
    """The garbage collector does not lock up the process that the watchdog looks at."""
    assert in_process(child_looks) == "looked\n"


def test_a_line_that_cannot_be_read() -> None:
    """A frame is shown without its text where the file is not there."""
    (frame,) = [each for each in thread_stack(threading.get_ident()) if each["file"] == __file__]
    first, text = format_frames([frame]).splitlines()
    assert "(frame,) = " in text
    frame["file"] = "/nowhere.py"
    assert format_frames([frame]) == first.replace(__file__, "/nowhere.py")


def test_a_thread_without_a_name() -> None:
    """A thread that `threading` does not know, or no longer, is called by its ident."""
    assert thread_name(threading.get_ident()) == threading.current_thread().name
    assert thread_name(0) == "0"
