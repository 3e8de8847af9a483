"""A folder for sockets, and processes that have one."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.example.browser import chromium  # noqa: F401 - a fixture
from tests.servers.process import Server
from wsgi_async.inspector import close_inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

PROCESS = """
import asyncio
import sys
import threading

from wsgi_async import AsyncioLoopManager


async def inner():
    ready.set()
    await asyncio.Event().wait()


async def waiting_for_ever():
    await inner()


ready = threading.Event()
manager = AsyncioLoopManager("api")
manager.start()
manager.submit_task(waiting_for_ever())
ready.wait()
print("ready", flush=True)
{rest}
"""

TURNS = "while True: threading.Event().wait(0.01)"
"""What lets the main thread run something every now and then."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder, with a path that is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="insp-", dir="/tmp"))
    yield path
    close_inspector()
    shutil.rmtree(path)


@pytest.fixture
def process(folder: Path) -> Callable[..., AbstractContextManager[Server]]:
    """A process with a manager and a task that waits; it has a socket if it is told to."""

    @contextmanager
    def run(*, inspect: str = str(folder), rest: str = TURNS) -> Iterator[Server]:
        code = PROCESS.replace("{rest}", rest)
        with Server("-c", code, WSGI_ASYNC_INSPECT=inspect) as server:
            server.wait_for("^ready$")
            yield server

    return run
