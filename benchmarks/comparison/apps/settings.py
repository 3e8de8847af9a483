"""What an app is told by the environment."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

NAME = "WSGI_ASYNC_COMPARISON"
"""The environment variable; holds JSON."""


class Settings(NamedTuple):
    """What an app is, and where the services are that its views call.

    Args:
        way: how it calls async code.
        uvloop: whether its loops are uvloop's.
        upstream: the port of the HTTP server.
        redis: the port of Redis.
        postgres: the folder of PostgreSQL's socket.
    """

    way: str
    uvloop: bool = False
    upstream: int = 0
    redis: int = 0
    postgres: str = ""

    def environment(self) -> dict[str, str]:
        """Return what tells a process these settings."""
        return {NAME: json.dumps(self._asdict())}

    def loop_options(self) -> dict[str, Any]:
        """Return the options of an `AsyncLoopMiddleware`."""
        options: dict[str, Any] = {"per": "process" if self.way == "process" else "thread"}
        if self.uvloop:
            import uvloop

            options["loop_factory"] = uvloop.new_event_loop
        return options


def read() -> Settings:
    """Return the settings of this process."""
    return Settings(**json.loads(os.environ[NAME]))
