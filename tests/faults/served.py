"""What the servers serve: the application with all its views, and one without wsgi_async."""

from __future__ import annotations

from tests.faults import processes, threads, views
from tests.faults.site import app, unwrapped

__all__ = ["app", "processes", "threads", "unwrapped", "views"]
