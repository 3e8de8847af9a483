"""The same under ASGI: sync endpoints find `async.loop`, which is the server's running loop."""

from .middleware import AsyncLoopMiddleware

__all__ = ["AsyncLoopMiddleware"]
