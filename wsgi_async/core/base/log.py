"""The library's logger, `wsgi_async`, and a way to use it from threads that must not end.

A line names the coroutine that it is about, and the request that the coroutine runs for.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Context

__all__ = ["logger", "origin", "report", "request_of", "with_origin"]

logger = logging.getLogger("wsgi_async")

origin: ContextVar[object | None] = ContextVar("wsgi_async origin", default=None)
"""What the current code runs for: the middleware sets the request. Its `str()` goes into the log.
"""


def with_origin(name: str, context: Context | None = None) -> str:
    """The name of a coroutine for the log, with the request that it runs for.

    Args:
        name: The name.
        context: The context that the coroutine runs in; the current one with None.
    """
    found = origin.get() if context is None else context.get(origin)
    return name if found is None else f"{name} ({found})"


def request_of(context: Context | None) -> str | None:
    """The request that the code in a context runs for."""
    found = None if context is None else context.get(origin)
    return None if found is None else str(found)


def report(
    level: int,
    message: str,
    *args: object,
    error: BaseException | None = None,
    stack: bool = False,
    to: logging.Logger = logger,
) -> None:
    """Log a record. An exception in a handler or filter does no harm.

    The library logs from destructors and from the threads that run loops. There, an exception from
    the user's logging would end the thread or interrupt a stop, so it goes to standard error.

    Args:
        level: A level of `logging`.
        message: The message, with `%s` for each argument.
        *args: The arguments of the message.
        error: An exception, which is logged with its traceback.
        stack: Whether to log the stack of the caller.
        to: The library's logger, or a child of it.
    """
    try:
        to.log(level, message, *args, exc_info=error, stack_info=stack)
    except (Exception, SystemExit):
        try:
            sys.stderr.write(f"wsgi_async could not log {message % args!r}\n")
            traceback.print_exc()
        except Exception:  # noqa: S110 - there is nobody left to tell
            pass
