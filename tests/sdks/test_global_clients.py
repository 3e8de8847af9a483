"""A client of a library that belongs to one event loop, used from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.affinity.http_server import serving
from tests.core.support import LIMIT
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import serve
from wsgi_async import AsyncioLoopManager, loop_resource, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from wsgiref.types import WSGIEnvironment

httpx2: Any = pytest.importorskip("httpx2", reason="httpx2 is not installed")


def answers(
    view: Callable[[], str], threads: int, requests: int, close: Any = None, **options: Any
) -> list[str]:
    """Serve so many requests on so many threads; close what they share, and end their loops."""

    def app(_: WSGIEnvironment) -> list[bytes]:
        return [view().encode()]

    key = object()
    wrapped = app_of(app, id=key, timeout=LIMIT, **options)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda _: serve(wrapped).decode(), range(requests)))
    for manager in AsyncioLoopManager.all_instances():
        if manager.id is key:
            if close is not None:
                manager.run(close())
            manager.stop()
    return found


def test_a_client_at_module_level_with_one_loop_for_the_process() -> None:
    """With per="process" 8 threads use one client, and each of 500 requests is right."""
    client = httpx2.AsyncClient(timeout=LIMIT)

    async def fetch(url: str) -> str:
        return str((await client.get(url)).text)

    with serving() as server:
        page = f"{server.url}/page"
        found = answers(lambda: run(fetch(page)), 8, 500, client.aclose, per="process")
    assert found == ["/page"] * 500


def test_a_client_as_a_loop_resource() -> None:
    """As a resource the client is opened once for each thread: 4 connections for 40 requests."""

    @loop_resource
    async def client() -> AsyncIterator[Any]:
        async with httpx2.AsyncClient(timeout=LIMIT) as opened:
            yield opened

    async def fetch(url: str) -> str:
        return str((await (await client()).get(url)).text)

    with serving() as server:
        assert answers(lambda: run(fetch(f"{server.url}/page")), 4, 40) == ["/page"] * 40
        assert server.accepted <= 4
