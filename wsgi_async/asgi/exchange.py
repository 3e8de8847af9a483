"""One request to an ASGI app, between the app on the loop and the thread that serves the request.

The thread asks for one part of the response after the other. In between, it writes the part to the
client, or reads the next piece of the request's body and brings the piece with its next call.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from wsgi_async.core.actors.actor import Actor
from wsgi_async.core.actors.leaving import open_streams, time_to_end
from wsgi_async.core.base.deadlines import request_deadline, time_left
from wsgi_async.core.base.log import report
from wsgi_async.core.base.primitives import Primitives
from wsgi_async.core.jobs.job import ActorCall
from wsgi_async.wsgi.bodies import KEY

from .lifespan import state_of
from .response import ClientDisconnected, Part, head_of, told_of_it

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core.jobs.job import ServedFunction
    from wsgi_async.core.runners.runner import Runner

    from .middleware import ASGIApplication, Message, Scope
    from .request_body import RequestBody
    from .response import Head

__all__ = ["Exchange"]

INSTEAD = "await the ASGI app itself"

_READ: Any = object()
"""What the thread gets instead of a part when the app asks for the request's body."""

_FEW = 100
"""So many parts of a response without a body are dropped without a pause."""
_REST = 0.001
"""Seconds between the next ones."""

_DISCONNECT = {"type": "http.disconnect"}


class _Piece(ActorCall):
    """Brings the piece that the thread has read, and waits for the next part."""

    def __init__(self, exchange: Exchange, message: Message | Exception) -> None:
        super().__init__(exchange)
        self.message = message


class _LastCall(ActorCall):
    """Tells the app that the client has gone, and waits until the app has ended."""


class Exchange(Actor):
    """One request, whose task runs the app. Lives until the app has ended.

    After the last part of the response the task continues, for the app's background tasks.

    Args:
        runner: Runs its loop.
        app: The app.
        name: The app's name in the log.
        scope: The request's ASGI scope.
        body: The request's body.
        lifespan: The key of the app's lifespan on each loop.
    """

    ahead = True
    # One thread, the request's: see `open_streams`.
    opened = 0.0

    def __init__(
        self,
        runner: Runner,
        app: ASGIApplication,
        name: str,
        *,
        scope: Scope,
        body: RequestBody,
        lifespan: Hashable,
    ) -> None:
        super().__init__(runner, contextvars.copy_context(), name)
        # Never changes:
        self._app = app
        self._body = body
        self._lifespan = lifespan
        # One thread, the request's: whether the response has begun, and does not tell its length.
        self._may_be_endless = False
        # On the loop:
        self._scope: Scope | None = scope  # until the task takes it
        self._pieces: deque[Message | Exception] = deque()  # of the request's body, not yet taken
        if not body.more:
            self._pieces.append({"type": "http.request", "body": b"", "more_body": False})
        self._wanted = False  # the app waits for a piece, and the thread has not been told
        self._reading = False  # the thread has been told, and reads
        self._news = asyncio.Event()  # for the app's receive()
        self._listeners = 0  # how many receive() calls wait for it
        self._started = False  # the app has started its response
        self._head: Head | None = None  # until a part takes it along
        self._bodiless = scope["method"] == "HEAD"
        self._turns = asyncio.Lock()  # one send() at a time
        self._putting = False  # a send() waits for the thread
        self._complete = False  # the last part has been handed over
        self._dropped = 0  # parts after the last one
        self._dropped_until = 0.0  # until when later parts are ignored, if there is no body
        self._gone = False  # the client has gone
        self._end: BaseException | None = None  # the error that ended the app between two calls

    # -- in the thread -------------------------------------------------------------------------

    def next(self) -> Part | None:
        """Wait for the next part; None if there is none, because the process is about to exit.

        Raises:
            BaseException: The app raised it, or the server's `read()` did.
            WaitTimeoutError: The request's deadline has passed.
            TaskCancelledError: The app was canceled.
            RuntimeError: The manager was stopped, or the app has ended before it responded.
        """
        if self._may_be_endless and time_to_end(self):
            self.close()
            return None
        call = ActorCall(self)
        while True:
            limit = None if request_deadline.get() is None else time_left(None)
            part: Part | None = self.call(call, INSTEAD, limit)
            if part is not _READ:
                break
            call = _Piece(self, self._read())
        if part is not None and part.head is not None and not (part.last or part.head.sized):
            self._may_be_endless = True
            open_streams.add(self)
        return part

    def _read(self) -> Message | Exception:
        try:
            body = self._body.read()
        except Exception as error:
            return error
        if body is None:
            return _DISCONNECT
        return {"type": "http.request", "body": body, "more_body": self._body.more}

    def close(self) -> None:
        """Unless the app has ended, tell it that the client has gone, and wait, up to the grace."""
        if not self.begun or self.ended or self.live.closing:
            self._report_end()
            return
        call = _LastCall(self)
        try:
            self.call(call, INSTEAD, self.live.grace)
        except (asyncio.CancelledError, TimeoutError):
            pass
        finally:
            self.abandon_unless_served(call)
        if call.expired:
            report(
                logging.WARNING,
                "%s: %s took longer than %s s to end after its client had gone, and was canceled",
                self.live.status,
                self.label,
                self.live.grace,
            )

    def _report_end(self) -> None:
        """Log the error that ended the app: no call raises it. In the thread, or on the loop."""
        error, self._end = self._end, None
        if error is not None:
            self._report_failure(error)

    def _report_failure(self, error: BaseException) -> None:
        report(logging.ERROR, "%s: %s failed", self.live.status, self.label, error=error)

    # -- on the loop ---------------------------------------------------------------------------

    def serve(self, call: ActorCall) -> None:
        """As the base class; the last call may interrupt another one."""
        if isinstance(call, _LastCall):
            self._leave(call)
            return
        if isinstance(call, _Piece):
            self._reading = False
            self._pieces.append(call.message)
            self._news.set()
        super().serve(call)
        if self._wanted or self._head is not None:
            self._offer_soon()

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """As the base class; after the last part, no thread makes another call."""
        if self.present is None and (self._complete or self._gone):
            return False
        return super().ask(loop, function)

    def refuse(self, call: ActorCall) -> None:
        """As the base class; an error that has ended the app meanwhile is raised now."""
        error, self._end = self._end, None
        if error is not None:
            self.live.finish(call, exception=error)
        elif self.ended and self._gone:
            self.live.finish(call, None)
        else:
            super().refuse(call)

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """As the base class; an app that ends because its client has gone has not failed."""
        if self._gone and (self.leaving or told_of_it(error)):
            if not (cancelled or told_of_it(error)):
                self._report_failure(error)
            self.answer(None)
        elif self.present is None and not (cancelled or self._complete):
            self._end = error
        else:
            super().fail(error, cancelled=cancelled)

    def _leave(self, call: ActorCall) -> None:
        task, busy_with = self.task, self.present
        if self.ended or task is None:
            self.ended = True  # the app must not begin any more
            self._report_end()
            self.live.finish(call, None)
            return
        self.leaving = True
        self.present, call.home, call.task = call, self.live, task
        if busy_with is not None:
            self.live.finish(busy_with, exception=asyncio.CancelledError(), cancelled=True)
        told = self._listeners > 0 or (self._turn is not None and not self._turn.done())
        self._tell_gone()
        if busy_with is not None or not told:
            task.cancel()

    def cut(self) -> None:
        """End the response, because the process is about to exit. Its consumer sees the end."""
        if self.task is not None and not (self.ended or self.leaving or self._complete):
            self.leaving = True
            self._tell_gone()
            self.task.cancel()

    def _cancel(self) -> None:
        """As the base class: nobody is there for the rest of the response."""
        self._tell_gone()
        super()._cancel()

    def _tell_gone(self) -> None:
        self._gone = True
        self._news.set()
        self.wake()

    def _offer_soon(self) -> None:
        self.live.raw.call_soon(self._offer)

    def _offer(self) -> None:
        """If the thread waits, hand it the response's head, or have it read the request's body."""
        if self.present is None or self.leaving or self._putting:
            return
        if self._head is not None:
            self._hand_over(b"", last=self._bodiless)
        elif self._wanted:
            self._wanted, self._reading = False, True
            self.answer(_READ)

    def _hand_over(self, body: bytes, *, last: bool) -> None:
        head, self._head = self._head, None
        if last:
            self._complete = True
            self._dropped_until = Primitives.clock() + self.live.grace
            self._news.set()
        self.answer(Part(head, body, last))

    # -- in the app's tasks --------------------------------------------------------------------

    async def act(self) -> None:
        """Run the app."""
        scope, self._scope = cast("Scope", self._scope), None  # the scope may lead to this object
        state = await state_of(self._lifespan, self._app, self.name, scope[KEY])
        if state is not None:
            scope["state"] = state.copy()
        await self._app(scope, self._receive, self._send)
        if not (self._complete or self._gone):
            raise RuntimeError(
                f"{self.name} returned before its response was complete. Send a last "
                "'http.response.body' without more_body."
            )
        self.answer(None)

    async def _receive(self) -> Message:
        while not (self._gone or self._complete):
            if self._pieces:
                piece = self._pieces.popleft()
                if isinstance(piece, Exception):
                    raise piece
                self._gone = piece is _DISCONNECT
                return piece
            if self._body.more:
                self._want()
            self._news.clear()
            self._listeners += 1
            try:
                await self._news.wait()
            finally:
                self._listeners -= 1
        return _DISCONNECT

    def _want(self) -> None:
        if self._wanted or self._reading:
            return
        self._wanted = True
        if self._started:
            # Reading may take long, and another task of the app may send something meanwhile.
            self._offer_soon()
        else:
            self._offer()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            await self._put(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start":
            self._start(message)
        else:
            raise RuntimeError(f"An ASGI app under WSGI cannot send {kind!r}.")

    def _start(self, message: Message) -> None:
        if self._started:
            raise RuntimeError("The response has been started already.")
        self._head = head_of(message)
        self._started = True
        status = message["status"]
        self._bodiless = self._bodiless or status in (204, 304) or status < 200
        # Usually the body follows at once. If not, the client gets the headers without it.
        self._offer_soon()

    async def _put(self, body: bytes, *, more: bool) -> None:
        if not self._started:
            raise RuntimeError("The response's body comes before its start.")
        async with self._turns:
            if self._complete:
                await self._drop_part(more=more)
                return
            await self._until_asked()
            self._hand_over(b"" if self._bodiless else bytes(body), last=self._bodiless or not more)
            if more and not self._bodiless:
                # Do not return before the server has taken the part.
                await self._turn_of_thread()

    async def _drop_part(self, *, more: bool) -> None:
        """Ignore a part after the last one. A response without a body is complete at its first.

        The app may send its whole body, as it may under an ASGI server, so that its code after that
        runs. The app of an endless body gets an error.
        """
        if not self._bodiless:
            raise RuntimeError("The response is complete already.")
        if more and Primitives.clock() > self._dropped_until:
            self._gone = True
            raise ClientDisconnected
        # The app may send without a pause, and nothing else would keep it from using the whole CPU.
        self._dropped += 1
        await asyncio.sleep(0 if self._dropped < _FEW else _REST)

    async def _until_asked(self) -> None:
        self._putting = True
        try:
            while self.present is None or self.leaving:
                await self._turn_of_thread()
        finally:
            self._putting = False

    async def _turn_of_thread(self) -> None:
        if not self._gone:
            await self.park()
        if self._gone:
            raise ClientDisconnected
