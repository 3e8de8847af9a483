"""Whether a loop makes progress, as seen from another thread, without waking the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.runners.runner import Runner

__all__ = ["Watched"]


class Watched:
    """One live loop, from look to look. Lives as long as the sampler sees the loop.

    Only the sampler's thread touches it, except for `_answer()`.

    Args:
        runner: Runs the loop.
    """

    def __init__(self, runner: Runner) -> None:
        # Never changes:
        self.runner = runner
        self.live = runner.live
        # One thread, the sampler's:
        self.since: float | None = None
        """When it was first seen at its present place; None if it turns, sleeps or has no work."""
        self.away = False
        """Whether its thread, a resident one, is outside of the loop."""
        self.episode = 0
        """A number that changes with each progress."""
        self._seen: Hashable = None
        self._asked = 0
        # No lock: written on the loop.
        self._answered = 0

    def look(self, now: float) -> None:
        """See where the loop is."""
        seen = self._where()
        if seen is None or seen != self._seen:
            self.since = None if seen is None else now
            self.episode += 1
        self._seen = seen

    def forgive(self, seconds: float) -> None:
        """Do not count a time in which neither the loop nor the sampler ran."""
        if self.since is not None:
            self.since += seconds

    @property
    def still(self) -> bool:
        """Whether the loop is where the last look has seen it."""
        return self._where() == self._seen

    def standing(self) -> list[Job]:
        """The calls that make no progress while a resident thread is away from its loop.

        A call that this very thread waits for is not among them: it has asked the thread to run a
        function.
        """
        owner = self.runner.owner
        return [job for job in self.live.unfinished() if job.waiter != owner or job.released]

    def _where(self) -> Hashable:
        """A value that changes whenever there is progress; None if none is expected."""
        runner, live = self.runner, self.live
        self.away = not runner.inside
        if self.away:
            stands = runner.resident and (live.jobs or live.queue) and self.standing()
            return (True, runner.entries) if stands else None
        if live.selector is None:
            busy = (live.jobs or live.queue) and live.raw.is_running()
            return self._beat() if busy else None
        return None if live.selector.asleep else (False, runner.entries, live.selector.turns)

    def _beat(self) -> Hashable:
        """For a loop whose turns are not counted: make the loop answer."""
        answered = self._answered
        if answered == self._asked:
            self._asked += 1
            self.live.post(self._answer, self._asked)
        return (False, self.runner.entries, answered)

    def _answer(self, number: int) -> None:
        """On the loop: record the answer."""
        self._answered = number
