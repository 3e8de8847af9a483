"""WebOb without a framework: background work after the response."""

from __future__ import annotations

import asyncio

from webob import Request, Response
from webob.dec import wsgify

from wsgi_async import AsyncLoopMiddleware, loop_from

visits: list[str] = []


async def write_down(path: str) -> None:
    await asyncio.sleep(0.01)  # in a real app: the audit log
    visits.append(path)


async def last_visits(number: int) -> list[str]:
    await asyncio.sleep(0)
    return visits[-number:]


@wsgify
def webob_app(request: Request) -> Response:
    loop = loop_from(request)
    if request.path == "/visits":
        return Response(json=loop.run(last_visits(5), timeout=5))
    loop.submit_task(write_down(request.path))  # keeps running after the response is sent
    return Response("noted\n", status=202)


app = AsyncLoopMiddleware(webob_app)
