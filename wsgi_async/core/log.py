"""The library's logger, `wsgi_async`."""

import logging

__all__ = ["logger"]

logger = logging.getLogger("wsgi_async")
