"""Async iterables as sync iterators: what `AsyncioLoopManager.iterate()` returns."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.deadlines import request_deadline, time_left
from wsgi_async.core.base.log import report
from wsgi_async.core.jobs.job import ActorCall

from .actor import Actor
from .leaving import open_streams, time_to_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator
    from types import TracebackType
    from typing import Self

    from wsgi_async.core.runners.runner import Runner

__all__ = ["END", "INSTEAD", "StreamActor", "SyncIterator", "failures_of"]

T_co = TypeVar("T_co", covariant=True)

END = object()
"""What a stream answers when there are no more items."""

INSTEAD = "use `async for` on the iterable itself"
CLOSE_INSTEAD = "await aclose() of the iterable itself"


class SyncIterator(Generic[T_co]):
    """A sync iterator over an async iterable, from `AsyncioLoopManager.iterate()`.

    The whole iterable runs in one task and one context, a copy of the context in which you called
    `iterate()`. If you stop iterating early, close the iterator, as a `with` statement and a WSGI
    server do. `close()` runs the generator's `finally` blocks and waits for them. If the garbage
    collector finds an open iterator, it is closed in the background, with a `ResourceWarning`.

    A timeout or a task group in the generator also works between two items. If it cancels the
    generator there, the next item raises what the generator makes of that.

    Use it from one thread at a time, which is not running an event loop. Lives as long as somebody
    holds it.
    """

    __slots__ = ("__weakref__", "_stream")

    def __init__(self, stream: StreamActor) -> None:
        self._stream: StreamActor | None = stream

    def __iter__(self) -> Iterator[T_co]:
        return self

    def __next__(self) -> T_co:
        """The next item; waits for it.

        Raises:
            BaseException: What the iterable raised.
            TaskCancelledError: Its task was canceled.
            WaitTimeoutError: The request's deadline has passed.
            RuntimeError: The manager was stopped, the process was forked, or this thread is
                running an event loop.
        """
        stream = self._stream
        if stream is None:
            raise StopIteration
        if time_to_end(stream):
            self.close()
            raise StopIteration
        try:
            item = stream.next()
        except BaseException:
            if stream.spent:
                self._stream = None
            raise
        if item is END:
            self._stream = None
            raise StopIteration
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the iterable's task, and wait until its `finally` blocks have run.

        They have as long as the manager's grace. Then they are canceled, and left behind if they
        take as long again; the log names the iterable in both cases. A second call does nothing.
        If another thread is waiting in `next()`, that call is canceled.

        Raises:
            BaseException: What the iterable raised while it was being closed.
            RunningLoopError: This thread is running an event loop.
        """
        stream = self._stream
        if stream is None:
            return
        if stream.open:
            refuse_in_event_loop(CLOSE_INSTEAD)  # now, so that it can be closed elsewhere
        self._stream = None
        stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is None or not stream.open or stream.live.inherited:
            return
        stream.abandon()
        warnings.warn(
            f"{stream.name} was iterated and never closed. Close the iterator, or use it in a with "
            "statement.",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )


class _LastCall(ActorCall):
    """The call that closes the iterable."""


class StreamActor(Actor):
    """Hosts an async iterable, which makes one item for each call. Lives as long as its task.

    Args:
        runner: Runs its loop.
        iterable: The iterable.
    """

    # One thread, the consumer's: see `open_streams`.
    opened = 0.0

    def __init__(self, runner: Runner, iterable: AsyncIterable[Any]) -> None:
        super().__init__(runner, contextvars.copy_context(), name_of(iterable))
        self._iterable: AsyncIterable[Any] | None = iterable  # until the task has taken it
        open_streams.add(self)
        self._cut_short = False  # closed during another call, or after it was canceled
        self._end: Any = None  # END, or an exception, that came between two calls

    # -- in the consumer's thread ----------------------------------------------------------------

    def next(self) -> Any:
        """The next item, or END."""
        limit = None if request_deadline.get() is None else time_left(None)
        try:
            return self.call(ActorCall(self), INSTEAD, limit)
        except asyncio.CancelledError:
            end, self._end = self._end, None
            if end is None:
                raise
        # Raised outside of the `except`, so that its context stays its own.
        try:
            if end is not END:
                raise end
        finally:
            del end  # the traceback holds this frame: avoid a cycle
        return END

    @property
    def open(self) -> bool:
        """Whether it has begun and has to be closed. A stop() closes it without a call."""
        return self.begun and not (self.ended or self.live.closing)

    @property
    def spent(self) -> bool:
        """Whether it has ended, and has no item and no error left for another call."""
        return self.ended and self._end is None

    def close(self) -> None:
        """Close the iterable and wait for it, for a limited time."""
        if self.open:
            self._close()
        if not self._cut_short:  # else another thread may still have to get it
            self._end = None  # its traceback refers to us: avoid a cycle

    def _close(self) -> None:
        call = _LastCall(self)
        try:
            self.call(call, CLOSE_INSTEAD, self.live.grace)
        except (asyncio.CancelledError, TimeoutError):
            if not (self._cut_short or call.expired):
                raise
        finally:
            self.abandon_unless_served(call)
        if call.expired:
            report(
                logging.WARNING,
                "%s: closing %s took longer than %s s, and was canceled",
                self.live.status,
                self.label,
                self.live.grace,
            )

    # -- on the loop ------------------------------------------------------------------------------

    def serve(self, call: ActorCall) -> None:
        """As the base class, but the last call may come late, or during another call."""
        if not isinstance(call, _LastCall):
            super().serve(call)
            return
        self.leaving = True
        busy_with, task = self.present, self.task
        if self.ended or task is None:
            self.ended = True  # no task is made any more
            self.live.finish(call, END)
        elif busy_with is None:
            # If the task was canceled meanwhile, the closing thread gets no CancelledError.
            self._cut_short = self._turn is None or self._turn.done()
            super().serve(call)
            if self._cut_short and self.ahead:
                task.cancel()  # it is making an item, and may have to wait for something
        else:
            self._cut_short = True
            self.present, call.home, call.task = call, self.live, task
            task.cancel()
            self.live.finish(busy_with, exception=asyncio.CancelledError(), cancelled=True)

    def cut(self) -> None:
        """End the stream, even while it waits for its next item. The consumer sees a normal end."""
        if self.task is not None and not (self.ended or self.leaving):
            self.leaving = True
            self.end_unasked(END)
            self.task.cancel()

    # -- in the task -------------------------------------------------------------------------------

    async def act(self) -> None:
        """Make one item after another, and close the iterable at the end in any case."""
        iterable, self._iterable = self._iterable, None  # it may refer to us: avoid a cycle
        iterator = aiter(cast("AsyncIterable[Any]", iterable))
        del iterable
        try:
            await self.pass_on(iterator)
        finally:
            await _close(iterator)
        if self.present is None:
            self.end_unasked(END)
        self.answer(END)

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """As the base class, but the next call also raises an error that is logged."""
        if self.present is None and not cancelled:
            self.end_unasked(error)
        super().fail(error, cancelled=cancelled)

    def end_unasked(self, end: Any) -> None:
        """Keep END or an exception for the next call."""
        self._end = end

    async def pass_on(self, iterator: AsyncIterator[Any]) -> None:
        """Answer each call with an item."""
        step = following = iterator.__anext__
        while not self.leaving:
            try:
                item = await step()
            except StopAsyncIteration:
                return
            finally:
                step = following
            try:
                if self.present is None:
                    await self.park()
                if self.leaving:
                    return
                self.answer(item)
                await self.park()
            except asyncio.CancelledError as error:
                step = self.throws(iterator, error)
                if step is None:
                    raise

    def throws(self, iterator: AsyncIterator[Any], error: BaseException) -> Any:
        """The next step of an iterable that was canceled while it waited for the next call.

        Its own timeout or task group may cancel it. It then ends or continues, as it would in any
        other wait. None if the actor has to end, or if the iterable is not a generator.
        """
        athrow = getattr(iterator, "athrow", None)
        if athrow is None or self.leaving or self.live.closing:
            return None
        return partial(athrow, error)


async def _close(iterator: AsyncIterator[Any]) -> None:
    aclose = getattr(iterator, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
        return
    except BaseExceptionGroup as group:
        failures = failures_of(group)
    try:
        if failures is not None:
            raise failures
    finally:
        del failures  # the traceback holds this frame: avoid a cycle


def failures_of(group: BaseExceptionGroup[Any]) -> BaseExceptionGroup[Any] | None:
    """The failures in a group that leaves a generator while it is closed; None without any.

    If a generator yields inside a task group, the group treats the GeneratorExit as an error of its
    body (PEP 789). From a response body, such a group would end the server's thread or process.
    """
    exits, rest = group.split(GeneratorExit)
    return group if exits is None else rest
