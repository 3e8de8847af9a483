"""An application that has a manager in gunicorn's master already; for `--preload`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from tests.servers import apps
from wsgi_async import AsyncLoopMiddleware, get_or_create_loop_manager, loop_from

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

master = get_or_create_loop_manager("master")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(b"master says " + line)
    writer.close()
    await writer.wait_closed()
    apps.say("echo hung up")


async def _serve() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    apps.say(f"echo at {server.sockets[0].getsockname()[1]}")
    try:
        await server.serve_forever()
    finally:
        apps.say(f"echo ended in {os.getpid()}")


async def answer() -> int:
    """Which process this loop runs in."""
    await asyncio.sleep(0)
    return os.getpid()


def masters(environ: WSGIEnvironment, _: dict[str, str]) -> dict[str, Any]:
    """What a worker gets that uses the master's manager, and one that makes its own."""
    try:
        master.run(answer())
        refusal = None
    except RuntimeError as error:
        refusal = str(error)
    return {"refusal": refusal, "pid": os.getpid(), "own": loop_from(environ).run(answer())}


apps.VIEWS["/masters"] = masters
app = AsyncLoopMiddleware(apps.plain)
master.start()
master.submit_task(_serve())
