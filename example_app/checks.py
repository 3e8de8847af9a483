"""The async part: check many addresses at the same time.

Whoever may add an address makes this server send a request to it, also to hosts that only the
server can reach (SSRF); so the board listens on the loopback interface unless it is told otherwise,
sends nothing but a plain GET, follows no redirect, and shows nothing of an answer but its status.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import aclosing

import httpx2

from example_app.clients import http_client
from example_app.models import CheckResult, Watched

# An answer larger than this is not read to its end; its connection is then closed, not reused.
MAX_BODY_BYTES = 256 * 1024

# A server may close an idle connection at the very moment in which it is used again.
_CUT_OFF = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


async def check_all(watched: Iterable[Watched], *, timeout: float) -> list[CheckResult]:
    """Check all addresses concurrently; the results are in the same order.

    Args:
        watched: what to check.
        timeout: the limit for each address, in seconds, and so the limit for all of them.
    """
    client = await http_client()
    return await asyncio.gather(*(_check(client, one, timeout) for one in watched))


class _Exchange:
    """One request as httpx2 traces it: was a connection opened, when did the status come."""

    def __init__(self) -> None:
        self.at = time.time()
        self.started = time.perf_counter()
        self.opened = 0
        self.status: int | None = None
        self.latency_ms: float | None = None

    async def trace(self, event: str, _info: object) -> None:
        """Called by httpx2 for each of its steps."""
        if event == "connection.connect_tcp.complete":
            self.opened += 1

    def answered(self, status: int) -> None:
        self.status = status
        self.latency_ms = round((time.perf_counter() - self.started) * 1000, 2)

    def result(self, url_id: int, error: str | None = None) -> CheckResult:
        reused = self.status is not None and self.opened == 0
        return CheckResult(url_id, self.at, self.status, error, self.latency_ms, reused)


async def _check(client: httpx2.AsyncClient, watched: Watched, timeout: float) -> CheckResult:
    exchange = _Exchange()
    error = None
    try:
        async with asyncio.timeout(timeout):
            try:
                await _get(client, watched.url, exchange)
            except _CUT_OFF:
                if exchange.opened or exchange.status is not None:
                    raise
                await _get(client, watched.url, exchange)
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as problem:
        error = _in_words(problem, timeout)
    return exchange.result(watched.id, error)


async def _get(client: httpx2.AsyncClient, url: str, exchange: _Exchange) -> None:
    async with client.stream("GET", url, extensions={"trace": exchange.trace}) as response:
        exchange.answered(response.status_code)
        # We may break off early: close the generator here, not when it is collected.
        async with aclosing(response.aiter_raw()) as chunks:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    break


def _in_words(problem: Exception, timeout: float) -> str:
    if isinstance(problem, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(problem, httpx2.ConnectError):
        return f"no connection ({_reason(problem)})"
    if isinstance(problem, _CUT_OFF):
        return "the connection was cut off"
    return f"the check failed ({_reason(problem)})"


def _reason(problem: Exception) -> str:
    """The system's own words where there are some: httpx2 wraps them several levels deep."""
    deepest: BaseException = problem
    while (cause := deepest.__cause__ or deepest.__context__) is not None:
        deepest = cause
    if isinstance(deepest, ConnectionError) and deepest.errno:
        return os.strerror(deepest.errno).lower()  # asyncio's text has the address in it
    if isinstance(deepest, OSError) and deepest.strerror:
        return deepest.strerror.lower()
    return str(problem) or type(problem).__name__
