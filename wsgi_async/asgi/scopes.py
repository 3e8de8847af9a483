"""A request's scope under ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.scopes import RequestScope

if TYPE_CHECKING:
    from contextvars import Token

    from wsgi_async.core.base.deadlines import Deadline

__all__ = ["AsgiScope"]


class AsgiScope(RequestScope):
    """A scope for a request whose sync code runs on other threads, in copies of its context.

    Its deadline exists from the beginning, so that all copies see the same one.
    """

    __slots__ = ()

    def enter(self) -> Token[Deadline | None]:
        """Let the current context see the deadline."""
        outer = request_deadline.get()
        deadline = self._deadline or self._begin()
        request_deadline.set(outer)  # resetting the token restores it
        return request_deadline.set(deadline)

    async def end_on_loop(self) -> None:
        """As `end()`, on the server's loop, which the tasks need for their cleanup."""
        self.end()  # cancels the tasks, and does not wait in a thread that runs a loop
        if self._group is not None:  # one that is made from now on accepts no task
            await self._group.wait_on_loop()

    def _is_current(self) -> bool:
        current = self._context is not None and request_deadline.get() is self._deadline
        # A coroutine of the request sees its deadline too, which cannot end the coroutine's waits.
        return current and running_loop() is None
