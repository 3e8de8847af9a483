"""What a query of an async view costs: how many of the package's functions it passes through."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

import wsgi_async
from tests.async_to_sync.parts import on_thread
from tests.core.support import in_process, say
from wsgi_async import AsyncioLoopManager, async_to_sync

if TYPE_CHECKING:
    from types import FrameType

MOST = 25
"""On average, which a wake-up that comes early now and then changes by a few hundredths."""

_OURS = str(Path(wsgi_async.__file__).parent)
_calls: list[str] = []  # appended to by any thread


def _count(frame: FrameType, event: str, _: Any) -> None:
    if event == "call" and frame.f_code.co_filename.startswith(_OURS):
        _calls.append(frame.f_code.co_name)


def query() -> None:
    """Stands for a query."""


async def view(queries: int) -> None:
    """Makes so many queries, one after the other."""
    for _ in range(queries):
        await sync_to_async(query)()


def child(mode: str) -> None:
    """Count in both threads, in a process where nothing else counts."""

    def measure() -> float:
        AsyncioLoopManager(debug=False).start()  # which -X dev would turn on
        sys.setprofile(_count)
        call = async_to_sync(view)
        call(10)
        counts = []
        for queries in (10, 110):
            _calls.clear()
            call(queries)
            counts.append(len(_calls))
        sys.setprofile(None)
        return (counts[1] - counts[0]) / 100

    threading.setprofile(_count)
    say(str(on_thread(mode, measure)))


def test_a_query_of_a_warm_view(mode: str) -> None:
    """A query in a view passes through few of our functions, in both threads together."""
    # On Python 3.14 each of four locks is taken by a function of ours: see `primitives.Condition`.
    locks = 4 if sys.version_info[:2] == (3, 14) else 0
    assert 10 < float(in_process(child, mode)) < MOST + locks + 0.5
