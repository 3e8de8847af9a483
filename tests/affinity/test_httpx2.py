"""An httpx2 client that is kept over calls, with its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from tests.affinity.http_server import serving
from tests.core.support import BEGIN, LIMIT, on_worker, reached

if TYPE_CHECKING:
    from tests.affinity.http_server import Server
    from tests.core.conftest import MakeManager


async def opened(server: Server) -> httpx2.AsyncClient:
    """A client for this server, made on the loop."""
    return httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=LIMIT)


async def get(client: httpx2.AsyncClient, path: str) -> str:
    """Get a path; the answer's body."""
    response = await client.get(path)
    return response.raise_for_status().text


@on_worker
def test_calls_reuse_the_connection(make_manager: MakeManager) -> None:
    """One connection serves call after call, and background requests between them."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        for number in range(5):
            path = f"/{number}"
            assert manager.run(get(client, path)) == path
            assert manager.submit_task(get(client, path)).result(LIMIT) == path
            assert manager.submit_task(get(client, path), True).result(LIMIT) == path
        assert server.accepted == 1
        manager.run(client.aclose())


@on_worker
def test_calls_during_a_background_request(make_manager: MakeManager) -> None:
    """While a background request waits, calls share a connection, and later all of them do."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        background = manager.submit_task(get(client, "/held"))
        reached(server.holds)
        for number in range(5):
            assert manager.run(get(client, f"/{number}")) == f"/{number}"
        assert not background.done()
        server.release.set()
        assert background.result(LIMIT) == "/held"
        for number in range(5):
            assert manager.run(get(client, f"/again/{number}")) == f"/again/{number}"
        assert server.accepted == 2
        manager.run(client.aclose())


@on_worker
def test_a_request_that_is_cancelled_between_calls(make_manager: MakeManager) -> None:
    """A call that runs out of time leaves the client in order for the next."""
    manager = make_manager()
    with serving() as server:
        client = manager.run(opened(server))
        try:
            manager.run(get(client, "/held"), timeout=BEGIN)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it was held")
        server.release.set()
        for number in range(3):
            assert manager.run(get(client, f"/{number}")) == f"/{number}"
        assert server.accepted == 2
        manager.run(client.aclose())
