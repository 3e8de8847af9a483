"""A small MCP server over stdio: counts, and tells which process it is."""

from __future__ import annotations

import os

from mcp.server import MCPServer

server = MCPServer("counter")
total = 0


@server.tool()
def add(number: int) -> str:
    """Add a number to the total."""
    global total
    total += number
    return f"{total} in {os.getpid()}"


if __name__ == "__main__":
    server.run()
