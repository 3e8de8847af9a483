"""asyncio's subprocesses, which outlive the call that has started them."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING

import pytest

from tests.core.support import LIMIT, on_worker, reached

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager

ECHO = "print(input()); raise SystemExit(3)"
"""Waits for a line, so the test decides when it ends."""


async def begin(code: str = ECHO) -> Process:
    """Start a Python process."""
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)


async def finish(process: Process, line: str) -> tuple[str, int | None]:
    """Say a line to a process and wait for its end; what it said, and its exit status."""
    output, _ = await process.communicate(line.encode() + b"\n")
    return output.decode().strip(), process.returncode


async def whole(line: str) -> tuple[str, int | None]:
    """A process from its start to its end."""
    return await finish(await begin(), line)


@on_worker
def test_within_one_call(make_manager: MakeManager) -> None:
    """A process starts and ends within a call, or within background work, or several at once."""
    manager = make_manager()
    assert manager.run(whole("run")) == ("run", 3)
    assert manager.submit_task(whole("future")).result(LIMIT) == ("future", 3)
    assert manager.submit_task(whole("driven"), True).result(LIMIT) == ("driven", 3)
    background = manager.submit_task(whole("background"))
    assert manager.run(whole("meanwhile")) == ("meanwhile", 3)
    assert background.result(LIMIT) == ("background", 3)


@on_worker
def test_over_two_calls(make_manager: MakeManager) -> None:
    """A process that one call has started is talked to and awaited in a later one."""
    manager = make_manager()
    first, second = manager.run(begin()), manager.submit_task(begin()).result(LIMIT)
    assert first.returncode is second.returncode is None
    assert manager.run(finish(second, "second")) == ("second", 3)
    assert manager.submit_task(finish(first, "first")).result(LIMIT) == ("first", 3)


@on_worker
def test_its_end_is_seen_while_nobody_calls(make_manager: MakeManager) -> None:
    """The loop notices that a process has ended, and a task left behind goes on, with no call."""
    manager = make_manager()
    seen = threading.Event()
    tasks = []

    async def leave_behind() -> None:
        process = await begin()
        task = asyncio.create_task(finish(process, "left"))
        task.add_done_callback(lambda _: seen.set())
        tasks.append(task)

    manager.run(leave_behind())
    reached(seen)
    assert tasks.pop().result() == ("left", 3)


@pytest.mark.parametrize("return_sync_future", [False, True])
@on_worker
def test_killed_by_a_later_call(make_manager: MakeManager, return_sync_future: bool) -> None:
    """Background work that waits for a process ends when a call has killed that."""
    manager = make_manager()
    process = manager.run(begin())
    waiting = manager.submit_task(process.wait(), return_sync_future)

    async def kill() -> None:
        process.kill()

    manager.run(kill())
    assert waiting.result(LIMIT) == -9
    manager.run(process.communicate())
