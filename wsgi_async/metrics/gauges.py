"""Current values, which go up and down: counted anew at each look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.base.primitives import Primitives
from wsgi_async.core.loops.open_resources import known_resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsgi_async.core.loops.live_loop import LiveLoop
    from wsgi_async.core.runners.runner import Runner
    from wsgi_async.insight.progress import Watched

    from .numbers import Gauges

__all__ = ["BlockedTime", "Lag", "gauges_of"]

_BLOCKED = 0.1
"""Seconds. A loop that turns within this time is not blocked."""


def gauges_of(runners: Iterable[Runner], lag: float) -> Gauges:
    """Count managers, tasks and resources. From any thread."""
    managers = {"keeper": 0, "resident": 0, "guest": 0}
    tasks = resources = 0
    for runner in runners:
        live = runner.live
        managers[runner.kind] += 1
        tasks += len(live.jobs) + len(live.queue)
        known = known_resources(live.raw)
        resources += 0 if known is None else len(known.open)
    return {
        "managers": managers,
        "tasks_in_flight": tasks,
        "resources_open": resources,
        "loop_lag_seconds": lag,
    }


class Lag:
    """The longest time that any of the loops takes to answer. On the sampler's thread."""

    def __init__(self) -> None:
        self._asked: dict[Watched, _Question] = {}
        self.seconds = 0.0

    def look(self, loops: list[Watched]) -> None:
        """Collect the answers since the last look, and ask the loops with work again."""
        self.seconds = max((each.seconds for each in self._asked.values()), default=0.0)
        before, self._asked = self._asked, {}
        for each in loops:
            question = before.get(each)
            if question is not None and not question.answered:
                self._asked[each] = question
            elif each.since is not None or (each.live.jobs and not each.away):
                self._asked[each] = _Question(each.live)


class _Question:
    """One question to one loop. Lives until the loop has answered."""

    def __init__(self, live: LiveLoop) -> None:
        # Never changes:
        self._at = Primitives.clock()
        # No lock: written on the loop, once.
        self._answered: float | None = None
        live.post(self._answer)

    def _answer(self) -> None:
        self._answered = Primitives.clock()

    @property
    def answered(self) -> bool:
        """Whether the loop has answered."""
        return self._answered is not None

    @property
    def seconds(self) -> float:
        """How long the answer took, or has taken so far."""
        return (self._answered or Primitives.clock()) - self._at


class BlockedTime:
    """The time in which loops did not turn. On the sampler's thread."""

    def __init__(self) -> None:
        self._counted: dict[Watched, tuple[int, float]] = {}

    def look(self, now: float, loops: list[Watched]) -> Iterator[tuple[str, float]]:
        """For each blocked loop: what blocks it, and for how many seconds since the last look."""
        before, self._counted = self._counted, {}
        for each in loops:
            if each.since is None or now - each.since < _BLOCKED:
                continue
            episode, until = before.get(each, (each.episode, each.since))
            start = until if episode == each.episode else each.since
            self._counted[each] = (each.episode, now)
            yield "view" if each.away else "coroutine", max(0.0, now - start)
