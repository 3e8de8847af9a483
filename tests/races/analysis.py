"""The races in one order: pairs of steps that could have come the other way round.

Each step knows what had to come before it (a vector clock: for each thread, how many of its
steps). Two steps of different threads that touch the same thing, and not both in a way that
leaves the other's meaning alone, are in a race if neither had to come first by other reasons.
What two threads do under the same mutex races as a whole: the one section before the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .steps import ACQUIRE, READ, SET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scheduler import Scheduler
    from .steps import Fibre, Section, Step

__all__ = ["Node", "Races"]


class Node(Protocol):
    """What the analysis writes to: the state before a step."""

    wanted: set[int]


class _Thing:
    """What has happened to one thing so far: for each way to touch it, each thread's steps."""

    __slots__ = ("reads", "sections", "sets", "settled", "touched", "writes")

    def __init__(self, threads: int) -> None:
        self.reads: list[list[int]] = [[] for _ in range(threads)]
        self.sets: list[list[int]] = [[] for _ in range(threads)]
        self.writes: list[list[int]] = [[] for _ in range(threads)]
        self.sections: dict[int, tuple[str, int]] = {}
        # What those know who come after: the last writing, and every touch since.
        self.settled = [0] * threads
        self.touched = [[0] * threads, [0] * threads]  # by reads, by sets


class Races:
    """Finds the races of one order, and writes down what would turn each round."""

    def __init__(self, scheduler: Scheduler, nodes: Sequence[Node]) -> None:
        self.steps = scheduler.steps
        self.nodes = nodes
        self.fibres = scheduler.fibres
        self.first = scheduler.first  # what comes before this step is not turned round
        # The steps before the last choice are those of an order that has been looked through.
        self.new = len(scheduler.prefix) - 1
        count = len(self.fibres)
        self.clocks = [[0] * count for _ in range(count)]
        self.parents = {fibre.parent for fibre in self.fibres}
        self.known: dict[int, list[int]] = {}  # what a thread knew that has started another
        self.number: list[int] = []  # per step, how many its thread had taken with it
        self.things: dict[str, _Thing] = {}
        self.before = [-1] * count  # each thread's last step

    def find(self) -> None:
        """Want, at each state, the choices that turn a race round."""
        for at, step in enumerate(self.steps):
            self._follow(at, step)
        for fibre in self.fibres:
            if not fibre.done:
                self._pending(fibre)

    def _follow(self, at: int, step: Step) -> None:
        me = step.fibre
        clock = self.clocks[me]
        if clock[me] == 0 and self.fibres[me].parent >= 0:
            _join(clock, self.known[self.fibres[me].parent])
        clock[me] += 1
        self.number.append(clock[me])
        new = at >= self.new
        if step.ends_wait and new:
            self._time_could_pass(at, step)
        enabling = True
        for kind, name, section in step.touched:
            if kind < ACQUIRE:
                thing = self.things.get(name)
                if thing is None:
                    thing = self.things[name] = _Thing(len(self.fibres))
                if new:
                    self._meet(at, me, kind, thing, section, enabling=enabling)
                _note(thing, clock, kind, at, me, section)
            enabling = False
        if at in self.parents:
            self.known[at] = clock.copy()
        self.before[me] = at

    def _meet(
        self,
        at: int,
        me: int,
        kind: int,
        thing: _Thing,
        section: Section,
        *,
        enabling: bool,
    ) -> None:
        """A step touches a thing: which earlier touches need not have come first?"""
        knows, number = self.clocks[me], self.number
        if kind == READ:
            conflicting = [thing.writes, thing.sets]
        elif kind == SET:
            conflicting = [thing.writes, thing.reads]
        else:
            conflicting = [thing.writes, thing.reads, thing.sets]
        for touches in conflicting:
            for other, steps in enumerate(touches):
                if not steps or other == me or number[steps[-1]] <= knows[other]:
                    continue
                for earlier in reversed(steps):
                    if number[earlier] <= knows[other]:
                        break
                    where = earlier
                    theirs = thing.sections.get(earlier)
                    if theirs is not None and section is not None and theirs[0] == section[0]:
                        where = theirs[1]  # the whole section before the whole section
                    if where >= self.first:
                        self._turn_round(where, at, me, thing, enabling=enabling)

    def _turn_round(self, earlier: int, at: int, me: int, thing: _Thing, *, enabling: bool) -> None:
        """Have `me` take its step before the earlier one, there or where its block begins."""
        step = self.steps[earlier]
        if enabling and earlier > self.before[me] and me not in step.enabled:
            # It waited for just this thing there, and could not have had it. But somebody else
            # may have given it, and the earlier step could come after that.
            if ~me in step.expirable:
                self.nodes[earlier].wanted.add(~me)
            for other, steps in enumerate(thing.sets):
                if steps and steps[-1] > earlier and other != step.fibre:
                    self._want(earlier, at, other)
            return
        self._want(earlier, at, me)
        if not step.preempts(me):
            return
        start = earlier
        while start > self.first and self.steps[start - 1].fibre == step.fibre:
            start -= 1
        if start != earlier:
            self._want(start, at, me)

    def _want(self, where: int, at: int, me: int) -> None:
        """Have `me` go on there; where it cannot, those who make it able to."""
        step, wanted, knows = self.steps[where], self.nodes[where].wanted, self.clocks[me]
        if me in step.enabled:
            wanted.add(me)
            return
        helpers = {me}
        for later in range(where, at):
            other = self.steps[later].fibre
            if self.number[later] <= knows[other]:
                helpers.add(other)
        able = [one for one in helpers if one in step.enabled]
        able += [~one for one in helpers if ~one in step.expirable]
        wanted.update(able or step.enabled)
        section = step.touched[0][2]
        if section is not None and section[1] >= self.first:
            self._want(section[1], at, me)  # perhaps it cannot because of the mutex

    def _time_could_pass(self, at: int, step: Step) -> None:
        """A timed wait could have ended earlier, before each step that it can be told from."""
        me = step.fibre
        name = step.touched[0][1]
        for earlier in range(max(self.before[me] + 1, self.first), at):
            other = self.steps[earlier]
            if ~me in other.expirable and any(
                thing == name or thing == "time" for _, thing, _ in other.touched
            ):
                self.nodes[earlier].wanted.add(~me)

    def _pending(self, fibre: Fibre) -> None:
        """The order has ended, and this one still waits: could it have gone on earlier?"""
        at = len(self.steps)
        thing = self.things.get(fibre.thing)
        if thing is not None and fibre.kind < ACQUIRE:
            self._meet(at, fibre.index, fibre.kind, thing, None, enabling=True)
        fork = self.things.get("fork")
        if fork is not None:  # a child has it no more, but before it could have gone on
            self._meet(at, fibre.index, READ, fork, None, enabling=False)


def _join(clock: list[int], other: list[int]) -> None:
    for index, number in enumerate(other):
        clock[index] = max(clock[index], number)


def _note(
    thing: _Thing,
    clock: list[int],
    kind: int,
    at: int,
    me: int,
    section: Section,
) -> None:
    """Note a touch, and let its thread know what it now knows."""
    if section is not None:
        thing.sections[at] = section
    _join(clock, thing.settled)
    reads, sets = thing.touched
    if kind == READ:
        _join(clock, sets)
        thing.reads[me].append(at)
        _join(reads, clock)
    elif kind == SET:
        _join(clock, reads)
        thing.sets[me].append(at)
        _join(sets, clock)
    else:
        _join(clock, reads)
        _join(clock, sets)
        thing.writes[me].append(at)
        thing.settled = clock.copy()
