"""One `httpx2.AsyncClient` for each event loop, open for as long as the loop lives.

Every worker thread of the server has its own loop, so every worker thread has its own client, and
its connections stay open from one request to the next. A client works on its loop only and must be
closed there, while that still runs; a loop resource sees to both.
"""

import functools
import ssl
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from wsgi_async import loop_resource


@loop_resource
async def http_client() -> AsyncGenerator[httpx2.AsyncClient, None]:
    """What each loop opens; a coroutine awaits its loop's own."""
    async with httpx2.AsyncClient(
        headers={"User-Agent": "wsgi_async-status-board"},
        # Each check has one time limit for all of it (see checks.py).
        timeout=None,
        # Longer than the interval between two rounds, or no connection would be there to reuse.
        limits=httpx2.Limits(max_keepalive_connections=40, keepalive_expiry=300),
        # A proxy would answer for the address, and not at all for one on this machine.
        trust_env=False,
        verify=_ssl_context(),
        # A check leaves nothing behind that could change the next one.
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
    ) as client:
        yield client


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Loading the certificates takes tens of milliseconds: once a process, not once a thread."""
    return httpx2.create_ssl_context()
