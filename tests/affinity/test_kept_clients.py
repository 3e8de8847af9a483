"""Other HTTP clients that a loop resource keeps open: httpx and aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import aiohttp
import httpx

from tests.affinity.http_server import serving
from tests.core.support import LIMIT, Worker, outcome
from wsgi_async import loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager, LoopResource

    Get = Callable[[str], Coroutine[None, None, str]]

T = TypeVar("T")


@loop_resource
async def httpx_client() -> AsyncIterator[httpx.AsyncClient]:
    """An httpx client for each loop."""
    async with httpx.AsyncClient(trust_env=False, timeout=LIMIT) as client:
        yield client


async def get_with_httpx(url: str) -> str:
    """Get a page; the answer's body."""
    response = await (await httpx_client()).get(url)
    return response.raise_for_status().text


@loop_resource
async def aiohttp_session() -> AsyncIterator[aiohttp.ClientSession]:
    """An aiohttp session for each loop."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(LIMIT)) as session:
        yield session


async def get_with_aiohttp(url: str) -> str:
    """Get a page; the answer's body."""
    async with (await aiohttp_session()).get(url, raise_for_status=True) as response:
        return await response.text()


def asked_by_two_threads(
    make_manager: MakeManager, runner: str, resource: LoopResource[T], get: Get
) -> tuple[T, T]:
    """Two threads send requests on their own loops, then on each other's; the closed clients."""
    resident = runner == "resident"
    one, other = Worker("one", resident=resident), Worker("other", resident=resident)
    with serving() as server, one, other:
        first, second = one.call(make_manager), other.call(make_manager)

        def ask(manager: AsyncioLoopManager) -> list[str]:
            return [manager.run(get(f"{server.url}/{number}")) for number in range(5)]

        try:
            answers = [
                outcome(asked) for asked in (one.begin(ask, first), other.begin(ask, second))
            ]
            answers += [one.call(ask, second), other.call(ask, first)]
            assert answers == [[f"/{number}" for number in range(5)]] * 4
            assert server.accepted == 2
            return first.run(resource()), second.run(resource())
        finally:
            first.stop(LIMIT)
            second.stop(LIMIT)


def test_httpx_keeps_its_connections(make_manager: MakeManager, runner: str) -> None:
    """An httpx client serves call after call of two threads over one connection per loop."""
    first, second = asked_by_two_threads(make_manager, runner, httpx_client, get_with_httpx)
    assert first is not second
    assert first.is_closed
    assert second.is_closed


def test_aiohttp_keeps_its_connections(make_manager: MakeManager, runner: str) -> None:
    """An aiohttp session serves call after call of two threads over one connection per loop."""
    first, second = asked_by_two_threads(make_manager, runner, aiohttp_session, get_with_aiohttp)
    assert first is not second
    assert first.closed
    assert second.closed
