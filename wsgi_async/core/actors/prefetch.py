"""Streams that run ahead of their consumer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from .stream import END, StreamActor

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from wsgi_async.core.jobs.job import ActorCall
    from wsgi_async.core.runners.runner import Runner

__all__ = ["PrefetchingActor"]


class PrefetchingActor(StreamActor):
    """Hosts an async iterable that makes items while its consumer is busy with the earlier ones.

    Each call returns a batch of the items that are ready, so the threads meet once for many items.
    The items that the consumer has not yet taken from its batch, and those that wait here for the
    next batch, are together never more than the limit.

    Args:
        runner: Runs its loop.
        iterable: The iterable.
        limit: How many items it may run ahead.
    """

    ahead = True

    def __init__(self, runner: Runner, iterable: AsyncIterable[Any], limit: int) -> None:
        super().__init__(runner, iterable)
        self._limit = limit
        self._batch: deque[Any] = deque()  # the consumer's
        self._items: list[Any] = []  # for the next batch
        self._room = limit  # how many items may wait here, beside the consumer's
        self._disturbed = False  # canceled while it was parked, perhaps by a task of its own

    # -- in the consumer's thread ----------------------------------------------------------------

    def next(self) -> Any:
        """The next item, or END."""
        if not self._batch:
            batch = super().next()
            if batch is END:
                return END
            self._batch.extend(batch)
        return self._batch.popleft()

    @property
    def spent(self) -> bool:
        """As the base class."""
        return super().spent and not (self._items or self._batch)

    def close(self) -> None:
        """As the base class; the items that the consumer has not taken are dropped."""
        self._batch.clear()
        super().close()

    # -- on the loop -----------------------------------------------------------------------------

    def serve(self, call: ActorCall) -> None:
        """As the base class. If items are ready, the answer comes at once."""
        super().serve(call)
        if self.present is call and self._items and not self.leaving:
            self._hand_over()

    def refuse(self, call: ActorCall) -> None:
        """As the base class, but items that were made before the end are not lost."""
        if self.ended and self._items and self.present is None:
            self.live.finish(call, self._take())
        else:
            super().refuse(call)

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """As the base class, but an error between two calls is raised after the items before it."""
        if self.present is None and not (cancelled or self._disturbed):
            self.end_unasked(error)
        else:
            super().fail(error, cancelled=cancelled)

    def _hand_over(self) -> None:
        self.answer(self._take())

    def _take(self) -> list[Any]:
        """The next batch: at most half of the limit, so that the task can make the other half."""
        size = self._limit // 2 + 1
        batch, self._items = self._items[:size], self._items[size:]
        self._room = self._limit - len(batch) + 1
        return batch

    # -- in the task -----------------------------------------------------------------------------

    async def pass_on(self, iterator: AsyncIterator[Any]) -> None:
        """Fill the next batch, and hand it over as soon as a call asks for it."""
        step = following = iterator.__anext__
        while not self.leaving:
            try:
                item = await step()
            except StopAsyncIteration:
                return
            finally:
                step = following
            if self.leaving:
                return  # the closing thread wants no item, and will never ask for the next
            self._items.append(item)
            if self.present is not None:
                self._hand_over()
            try:
                while len(self._items) >= self._room and not self.leaving:
                    await self.park()
            except asyncio.CancelledError as error:
                self._disturbed = True
                step = self.throws(iterator, error)
                if step is None:
                    raise
