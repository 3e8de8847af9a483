"""The watchdog: watches all loops from a separate thread, and reports those that stand still."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.log import report as log
from wsgi_async.core.jobs import observers
from wsgi_async.core.runners.runner import runner_of
from wsgi_async.insight import sampler
from wsgi_async.insight.stacks import thread_name, thread_stack

from .long_calls import LongCalls
from .reports import Report, from_callback, text_of
from .whose import Work, work_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.jobs.job import Job
    from wsgi_async.insight.progress import Watched

__all__ = ["Watchdog", "start_watchdog"]

logger = logging.getLogger("wsgi_async.watchdog")


def start_watchdog(
    blocked_after: float = 0.5,
    run_longer_than: float | None = None,
    *,
    level: int = logging.WARNING,
    on_report: Callable[[Report], object] | None = None,
) -> Watchdog:
    """Report blocked event loops, and calls that take too long, while they last.

    A separate thread checks all loops of the process every 75 ms. It starts with the first manager,
    and again in a forked child. Each incident is reported once, to the logger `wsgi_async.watchdog`
    and to `on_report`.

    Args:
        blocked_after: Seconds after which a loop that makes no progress is reported.
        run_longer_than: Seconds after which a thread that waits for a call is reported. `None`
            does not report any.
        level: The level of the reports in the log. The end of an incident is logged as `INFO`.
        on_report: Called with each report, on the watchdog's thread. It must not take long.
            Exceptions that it raises are logged.

    Raises:
        TypeError, ValueError: An argument cannot be used.
    """
    _check("blocked_after", blocked_after)
    if run_longer_than is not None:
        _check("run_longer_than", run_longer_than)
    watchdog = Watchdog(blocked_after, run_longer_than, level, on_report)
    observers.add(watchdog)
    sampler.add(watchdog)
    return watchdog


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {value!r}. Give a number of seconds.")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}. Give a number of seconds above zero.")


class _Incident(NamedTuple):
    """A loop that stands still and has been reported."""

    episode: int
    since: float
    report: Report


class Watchdog:
    """What `start_watchdog()` returns. Lives until you stop it, or as long as the process.

    Args:
        blocked_after: See `start_watchdog()`, as for the others.
        run_longer_than: Likewise.
        level: Likewise.
        on_report: Likewise.
    """

    def __init__(
        self,
        blocked_after: float,
        run_longer_than: float | None,
        level: int,
        on_report: Callable[[Report], object] | None,
    ) -> None:
        # Never changes:
        self._blocked_after = blocked_after
        self._run_longer_than = run_longer_than
        self._level = level
        self._on_report = on_report
        self.forget()

    def stop(self) -> None:
        """Stop reporting. A report that is already being made may still appear. From any thread."""
        sampler.remove(self)
        observers.remove(self)

    def forget(self) -> None:
        """In a forked child: forget the parent's incidents."""
        seconds = self._run_longer_than
        # One thread, the sampler's:
        self._known: dict[Watched, _Incident] = {}
        self._long_calls = None if seconds is None else LongCalls(seconds)
        # No lock: single operations on a deque are thread-safe.
        self._lost: deque[Report] = deque(maxlen=1000)

    # -- what happens on the loops ---------------------------------------------------------------

    def call_done(self, job: Job) -> None:
        """Nothing to report."""

    def cut_off(self, name: str) -> None:
        """Nothing to report: the manager logs it."""

    def stopped(self) -> None:
        """Nothing to report."""

    def wakeup_lost(self) -> None:
        """On the loop's thread: let the watchdog's thread report it."""
        loop = running_loop()
        runner = None if loop is None else runner_of(loop)
        if runner is None:  # pragma: no cover - a stop has come in between
            return
        names = sorted(job.label for job in runner.live.in_flight())
        self._lost.append(
            Report(
                kind="lost_wakeup",
                manager=runner.live.label,
                thread=thread_name(runner.owner),
                coroutine=_some(names),
                text=f"{runner.live.status}: a wake-up from another thread was lost and came up "
                f"to a second late, while {_some(names) or 'nothing'} waited",
            )
        )

    # -- on the sampler's thread -----------------------------------------------------------------

    def look(self, now: float, loops: list[Watched]) -> float | None:
        """Report new incidents."""
        while self._lost:
            self._tell(self._lost.popleft())
        if self._known:
            self._end_known(now, set(loops))
        due = [self._look_at(each, each.since, now) for each in loops if each.since is not None]
        if self._long_calls is not None:
            for report in self._long_calls.look(now, loops):
                self._tell(report)
        return min((each for each in due if each is not None), default=None)

    def _look_at(self, each: Watched, since: float, now: float) -> float | None:
        if each in self._known:
            return None
        due = since + self._blocked_after
        if now < due:
            return due
        report = _standing(each, now - since) if each.away else _blocked(each, now - since)
        # Otherwise the stack may show what came after the incident.
        if each.still:  # pragma: no branch - a race
            self._known[each] = _Incident(each.episode, since, report)
            self._tell(report)
        return None

    def _end_known(self, now: float, loops: set[Watched]) -> None:
        for each, incident in list(self._known.items()):
            if each not in loops or each.episode != incident.episode:
                del self._known[each]
                self._tell(_over(incident.report, now - incident.since))

    def _tell(self, report: Report) -> None:
        level = logging.INFO if report.kind == "turning_again" else self._level
        log(level, "%s", report.text, to=logger)
        if self._on_report is None:
            return
        try:
            self._on_report(report)
        except Exception as error:
            log(logging.ERROR, "on_report failed", error=error, to=logger)


def _some(names: list[str]) -> str | None:
    """The first three names, as text."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) + more) or None


def _blocked(each: Watched, seconds: float) -> Report:
    """Report a loop that does not turn, because something that it has called does not return."""
    live, owner = each.live, each.runner.owner
    # Read from this thread, because the loop does not answer.
    task = asyncio.current_task(live.raw)
    stack = from_callback(thread_stack(owner))
    work = Work("a callback", None) if task is None else work_of(live, task)
    thread = thread_name(owner)
    first = (
        f"{live.status}: its event loop, on thread {thread!r}, has been blocked for "
        f"{seconds:.1f} s by {work.label}"
    )
    return Report(
        kind="loop_blocked",
        manager=live.label,
        thread=thread,
        coroutine=work.name,
        request=work.request,
        seconds=seconds,
        stack=stack,
        text=text_of(first, [("", stack)]),
    )


def _standing(each: Watched, seconds: float) -> Report:
    """Report a loop whose thread does something else."""
    live, owner = each.live, each.runner.owner
    stack = tuple(thread_stack(owner))
    names = sorted(job.label for job in each.standing())
    thread = thread_name(owner)
    first = (
        f"{live.status}: thread {thread!r} has not come to its event loop for {seconds:.1f} s, "
        f"and {_some(names) or 'nothing'} waits for it"
    )
    return Report(
        kind="tasks_standing",
        manager=live.label,
        thread=thread,
        coroutine=_some(names),
        seconds=seconds,
        stack=stack,
        text=text_of(first, [("", stack)]),
    )


def _over(before: Report, seconds: float) -> Report:
    held = "a worker thread that did something else"
    if before.kind == "loop_blocked":
        held = before.coroutine or "a callback"
    return Report(
        kind="turning_again",
        manager=before.manager,
        thread=before.thread,
        coroutine=before.coroutine,
        request=before.request,
        seconds=seconds,
        text=f"{before.manager}: its event loop is running again, after {seconds:.1f} s; it was "
        f"held up by {held}",
    )
