"""An MCP session over stdio that stays open from request to request.

Install and run it, in this folder::

    pip install '..[flask,gunicorn]' mcp
    gunicorn --threads 4 mcp_stdio:app

Then open http://127.0.0.1:8000/add/1/2. `python mcp_stdio.py` is the MCP server: each worker thread
starts one at its first request. For one server for all threads, pass `per="process"`.
"""

import os
import sys
from collections.abc import AsyncIterator

from flask import Flask
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.server import MCPServer

from wsgi_async import loop_resource
from wsgi_async.integrations.flask import AsyncLoop

app = Flask(__name__)
AsyncLoop(app, timeout=30)
server = MCPServer("adder")


@server.tool()
def add(one: int, two: int) -> dict[str, int]:
    """Add two numbers, and say which process did it."""
    return {"sum": one + two, "process": os.getpid()}


@loop_resource
async def session() -> AsyncIterator[ClientSession]:
    """Opened and closed in one task, as the SDK demands."""
    parameters = StdioServerParameters(command=sys.executable, args=[__file__])
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as opened:
        await opened.initialize()
        yield opened


@app.get("/add/<int:one>/<int:two>")
async def add_in_server(one: int, two: int) -> dict[str, int]:
    result = await (await session()).call_tool("add", {"one": one, "two": two})
    return dict(result.structured_content or {})


if __name__ == "__main__":
    server.run()
