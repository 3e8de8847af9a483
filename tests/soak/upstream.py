"""The HTTP server that the soaked application calls, in a process of its own.

`python -m tests.soak.upstream DESCRIPTOR` serves on a listening socket that it inherits. It answers
with the last part of the path.
"""

from __future__ import annotations

import asyncio
import socket
import sys


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            name = head.split(b" ", 2)[1].rpartition(b"/")[2]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    async with await asyncio.start_server(answer, sock=listener) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
