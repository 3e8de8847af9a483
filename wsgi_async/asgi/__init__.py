"""The same middleware under ASGI, and ASGI apps under WSGI.

Under an ASGI server, sync endpoints find `async.loop`, which is the server's running loop. Under a
WSGI server, an ASGI app runs on the worker thread's loop.
"""

from .middleware import AsyncLoopMiddleware
from .mount import AsgiMount

__all__ = ["AsgiMount", "AsyncLoopMiddleware"]
