"""A client session of the MCP SDK, which has to be entered and exited in one task."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import on_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager

mcp = pytest.importorskip("mcp", reason="the MCP SDK is not installed")

SERVER = Path(__file__).with_name("mcp_server.py")


@asynccontextmanager
async def session(errors: Any) -> AsyncIterator[Any]:
    """A session with a server process of its own."""
    from mcp.client.stdio import stdio_client

    parameters = mcp.StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    async with (
        stdio_client(parameters, errlog=errors) as (reads, writes),
        mcp.ClientSession(reads, writes) as client,
    ):
        await client.initialize()
        yield client


@on_worker
def test_a_session_stays_open_across_calls(make_manager: MakeManager, tmp_path: Path) -> None:
    """Many calls talk to one server process, which ends with the with statement."""
    manager = make_manager()
    with (
        (tmp_path / "errors").open("w") as errors,
        manager.wrap_async_context_manager(session(errors)) as client,
    ):
        answers = [
            manager.run(client.call_tool("add", {"number": number}), timeout=20).content[0].text
            for number in range(5)
        ]
    totals, processes = zip(*(answer.split(" in ") for answer in answers), strict=True)
    assert totals == ("0", "1", "3", "6", "10")
    assert len(set(processes)) == 1
    assert not Path(f"/proc/{processes[0]}").exists()
