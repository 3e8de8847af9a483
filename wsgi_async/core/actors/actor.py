"""Actors: tasks of ours that live on between calls, and serve one call after another.

Some work has to run in one task but takes several calls: all items of an async generator, or the
enter and exit of a context manager. An actor runs it. Between two calls it is parked on a future.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from typing import TYPE_CHECKING, Any, cast

from wsgi_async.core.base.checks import inherited_error, refuse_in_event_loop, running_loop
from wsgi_async.core.base.coroutines import need_stack
from wsgi_async.core.base.log import origin, report
from wsgi_async.core.jobs import bridge
from wsgi_async.core.jobs.job import ActorCall, current_caller
from wsgi_async.core.messages.errors import Closing, TaskCancelledError, WaitTimeoutError
from wsgi_async.core.messages.foreign_loops import explain
from wsgi_async.core.runners.run import complete

if TYPE_CHECKING:
    from wsgi_async.core.jobs.job import Asked, ServedFunction
    from wsgi_async.core.runners.runner import Runner

__all__ = ["Actor"]


class Actor:
    """One task that serves one call after another. Lives until its task ends.

    The threads that call it take turns. The calling thread writes `begun`. All other fields, also
    those of subclasses, are written on the loop unless they say otherwise.

    Args:
        runner: Runs its loop.
        context: The context that its task runs in.
        name: Its name in the log and in errors.
    """

    outer: Asked | None = None  # see `Asked`

    def __init__(self, runner: Runner, context: contextvars.Context, name: str) -> None:
        self.runner = runner
        self.live = runner.live
        self.name = name
        self.task: asyncio.Task[None] | None = None
        self.present: ActorCall | None = None  # the call that it serves now
        self._origin = context.get(origin)
        self.begun = False  # a thread has made a call, even if a stop refuses it
        self.leaving = False  # it closes what it hosts, or is about to
        self.ended = False
        self._context: contextvars.Context | None = context  # until the task has taken it
        # Pending while the task is parked, else done. None before the task first parks.
        self._turn: asyncio.Future[None] | None = None
        # Functions for the thread of the next call. Only for subclasses that work between calls.
        self._asked: list[ServedFunction] = []

    @property
    def label(self) -> str:
        """Its name in the log."""
        return self.name if self._origin is None else f"{self.name} ({self._origin})"

    ahead = False
    """Whether its task works between two calls too."""

    # -- in the calling thread -----------------------------------------------------------------

    def call(self, call: ActorCall, instead: str, timeout: float | None = None) -> Any:
        """Make a call. Return its result, or raise its exception.

        Args:
            call: A new call.
            instead: What a coroutine does instead, for the error.
            timeout: Seconds until the whole actor is canceled.

        Raises:
            TimeoutError: The time has passed.
            RuntimeError: The manager was stopped, the process was forked, or this thread is
                running an event loop.
        """
        # Checked here first, to save a call: each item of a stream takes this path.
        if running_loop() is not None:
            refuse_in_event_loop(instead)
        if self.live.inherited:
            raise inherited_error(self.live.label)
        bridge.look()
        need_stack()
        if not self.begun:
            self._first_call()
        try:
            complete(self.runner, call, timeout)
        except Closing:
            raise self.live.stopped_error(None) from None
        return self._outcome(call)

    def _first_call(self) -> None:
        self.begun = True
        context = self._context
        if bridge.active is not None and context is not None:
            bridge.active.submitted(context)  # tasks that it leaves behind find this thread too

    def _outcome(self, call: ActorCall) -> Any:
        # Read `done` first, because the outcome is written before it. If the call was done at the
        # moment when its time passed, its result must not be lost.
        late = call.released or not call.done
        error = call.exception
        in_vain = late or call.cancelled or (error is None and call.cut_off)
        if call.expired and not call.stopped and in_vain:
            raise WaitTimeoutError(
                f"{self.name} was not done in time, and was canceled. Give it more time."
            )
        if error is None:
            return call.result
        try:
            if call.cancelled:
                raise TaskCancelledError(*error.args)
            raise error
        finally:
            call.exception = None
            del error, call  # the traceback holds this frame: avoid a cycle

    def abandon_unless_served(self, call: ActorCall) -> None:
        """Cancel the task if its last call never reached it. In the calling thread.

        The loop was busy until the time had passed, or until a signal handler raised.
        """
        taken_back = call.home is None and (call.done or not call.expired)
        if taken_back and not self.live.closing:
            self.abandon()

    def abandon(self) -> None:
        """Cancel the task, soon. From any thread, also from a destructor; takes no lock."""
        # In a forked child the loop's sockets are shared with the parent process.
        if not (self.ended or self.live.inherited):
            with contextlib.suppress(RuntimeError):  # the loop is closed: the task has ended
                self.live.post(self._cancel)

    def _cancel(self) -> None:
        self.leaving = True
        self.ahead = False  # no thread comes for what it asks for from now on
        self._lose_asked()
        if self.task is None:
            self.ended = True  # no call has arrived yet
        else:
            self.task.cancel()

    # -- on the loop ---------------------------------------------------------------------------

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """Have the calling thread run a function; see `Asked`."""
        if self.present is not None:
            return self.present.ask(loop, function)
        if self.ahead and not self.ended and loop is self.live.raw:
            self._asked.append(function)
            return True
        # Between two calls no thread waits. The thread of the next call may depend on this very
        # function, if it first waits for a task that the actor has left behind.
        return False

    def serve(self, call: ActorCall) -> None:
        """Continue, to serve this call. The first call makes the task."""
        if self.ended or self.present is not None:
            self.refuse(call)
            return
        self.present = call
        call.home = self.live
        asked, self._asked = self._asked, []
        for each in asked:
            call.ask(self.live.raw, each)
        if self.task is None:
            self._begin(call)
            return
        call.task = self.task
        self.wake()

    def wake(self) -> None:
        """Let the parked task continue."""
        turn = self._turn
        # If it is done, the task was canceled between two calls. The call gets what results.
        if turn is not None and not turn.done():
            turn.set_result(None)

    def refuse(self, call: ActorCall) -> None:
        """Refuse a call: the actor is busy with another call, or has ended."""
        if self.present is not None and not self.ended:
            busy = RuntimeError(
                f"{self.name} is still at a call that was not done in time. Close it instead."
                if self.present.released
                else f"{self.name} is busy with the call of another thread. "
                "Let one thread use it at a time."
            )
            self.live.finish(call, exception=busy)
        else:
            self.live.finish(call, exception=asyncio.CancelledError(), cancelled=True)

    def _begin(self, call: ActorCall) -> None:
        coro = self._run()
        # Not kept: it refers to us, because we are the caller that its coroutines ask.
        context, self._context = cast("contextvars.Context", self._context), None
        try:
            context.run(current_caller.set, self)
            if bridge.active is not None:
                self.live.tell_bridge(bridge.active, context)
            self.task = call.task = task = self.live.make_task(coro, context, self.name)
        except BaseException as error:
            # For example an error of a task factory. Any error goes to the caller.
            coro.close()
            self.ended = True
            self.present = None
            self.live.finish(call, exception=error)
            return
        if self.ended:
            self.task = None  # an eager task factory has run it to its end already
            return
        self.live.actors.add(self)
        task.add_done_callback(self._ended_unseen)

    def _ended_unseen(self, _: object) -> None:
        """The task has ended, perhaps without a first step because it was canceled before."""
        self.task = None  # its CancelledError holds our frames: avoid a cycle
        if not self.ended:
            self.ended = True
            self.live.actors.discard(self)
            self.fail(asyncio.CancelledError(), cancelled=True)

    # -- in the task ---------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self.act()
        except asyncio.CancelledError as error:
            self.ended = True  # before its caller knows, who may call again at once
            self.fail(error, cancelled=True)
            raise
        except BaseException as error:
            explain(error)
            # The error does not pass through the loop: a SystemExit would end the loop's thread.
            self.ended = True
            self.fail(error)
        finally:
            self.ended = True
            self.live.actors.discard(self)
            self._lose_asked()

    def _lose_asked(self) -> None:
        asked, self._asked = self._asked, []
        for function in asked:
            function.lose()

    async def act(self) -> None:
        """Serve the calls. An exception ends the actor, and goes to the current call."""
        raise NotImplementedError  # pragma: no cover - each subclass has its own

    def park(self) -> asyncio.Future[None]:
        """A future to await until the next call. It is canceled if the actor ends without one."""
        # Not a coroutine: each item of a stream takes this path, and would have to step it.
        self._turn = turn = self.live.raw.create_future()
        return turn

    def answer(self, result: Any = None) -> None:
        """Complete the current call with a result."""
        call, self.present = self.present, None
        if call is not None:
            self.live.finish(call, result)

    def fail(self, error: BaseException, *, cancelled: bool = False) -> None:
        """Fail the current call. If there is none, log the error."""
        call, self.present = self.present, None
        if call is not None:
            self.live.finish(call, exception=error, cancelled=cancelled)
        elif not cancelled:
            report(logging.ERROR, "%s: %s failed", self.live.status, self.label, error=error)
