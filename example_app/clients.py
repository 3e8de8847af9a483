"""One `httpx.AsyncClient` for each event loop, open for as long as the loop lives.

Every worker thread of the server has its own loop, so every worker thread has its own client, and
its connections stay open from one request to the next. A client must be closed on its loop, while
that still runs. An async generator gives us both ends: its first step, on first use, opens the
client, and the loop runs its `finally` block when it is shut down (`shutdown_asyncgens`, which
every manager calls when it stops).
"""

import asyncio
import functools
import ssl
import threading
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from weakref import WeakKeyDictionary

import httpx

_Lifetime = AsyncGenerator[httpx.AsyncClient, None]

# Guards _open, which all worker threads share; an entry is used by its own loop alone. Weak, so
# that the entry of a loop that was closed without being shut down does not outlive it.
_lock = threading.Lock()
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, _Lifetime]]
_open = WeakKeyDictionary()


async def client_of_this_loop() -> httpx.AsyncClient:
    """The running loop's client, opened by the first call on that loop."""
    loop = asyncio.get_running_loop()
    with _lock:
        found = _open.get(loop)
    if found is None:
        lifetime = _lifetime(loop)
        # No other coroutine of this loop gets in between: the generator's first step never waits.
        found = await anext(lifetime), lifetime
        with _lock:
            _open[loop] = found
    return found[0]


async def _lifetime(loop: asyncio.AbstractEventLoop) -> _Lifetime:
    client = _new_client()
    try:
        yield client
    finally:
        with _lock:
            _open.pop(loop, None)
        await client.aclose()


def _new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"User-Agent": "wsgi_async-status-board"},
        # Each check has one time limit for all of it (see checks.py).
        timeout=None,  # noqa: S113
        # Longer than the interval between two rounds, or no connection would be there to reuse.
        limits=httpx.Limits(max_keepalive_connections=40, keepalive_expiry=300),
        # A proxy would answer for the address, and not at all for one on this machine.
        trust_env=False,
        verify=_ssl_context(),
        # A check leaves nothing behind that could change the next one.
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
    )


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Loading the certificates takes tens of milliseconds: once a process, not once a thread."""
    return httpx.create_ssl_context()
