"""Falcon: `req.env` is the environ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import falcon

from wsgi_async import AsyncLoopMiddleware, loop_from, scope_from

if TYPE_CHECKING:
    from concurrent.futures import Future


async def look_up(name: str) -> str:
    await asyncio.sleep(0.01)  # in a real app: a database, another service
    return f"{name} found"


async def look_up_all(names: list[str]) -> list[str]:
    return await asyncio.gather(*map(look_up, names))


class Search:
    """Looks several names up at once, and one more in the background."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        loop, scope = loop_from(req.env), scope_from(req.env)
        scope.timeout(5)  # for all waits of this request
        extras: Future[str] = scope.submit_task(look_up("extras"))
        found = loop.run(look_up_all(req.get_param_as_list("name") or []))
        resp.media = {"found": found, "extras": extras.result()}


falcon_app = falcon.App()
falcon_app.add_route("/search", Search())
app = AsyncLoopMiddleware(falcon_app)
