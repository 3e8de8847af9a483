"""The library's logger, `wsgi_async`, and a way to use it from threads that must not end."""

from __future__ import annotations

import logging
import sys
import traceback

__all__ = ["logger", "report"]

logger = logging.getLogger("wsgi_async")


def report(
    level: int,
    message: str,
    *args: object,
    error: BaseException | None = None,
    stack: bool = False,
) -> None:
    """Log a record; a handler or filter that raises does no harm.

    The library logs from the threads that run loops and from destructors. What a user's logging
    raises there would end the thread, or a stop half-way, so it goes to the standard error.

    Args:
        level: As `logging` has it.
        message: With `%s` for each argument.
        *args: What goes into the message.
        error: Its traceback is logged too.
        stack: Whether to log where this was called.
    """
    try:
        logger.log(level, message, *args, exc_info=error, stack_info=stack)
    except (Exception, SystemExit):
        try:
            sys.stderr.write(f"wsgi_async could not log {message % args!r}\n")
            traceback.print_exc()
        except Exception:  # noqa: S110 - there is nobody left to tell
            pass
