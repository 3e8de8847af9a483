"""The inspector: what the event loops of a process, or of all workers of a server, are doing.

`open_inspector()`, or `WSGI_ASYNC_INSPECT=1` in the environment, opens a unix socket that only your
user can reach. `python -m wsgi_async inspect PID` and the app `wsgi_async.inspector.app` read it.
"""

from .sockets import close_inspector, open_inspector

__all__ = ["close_inspector", "open_inspector"]
