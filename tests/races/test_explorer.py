"""The explorer itself: that it leaves out orders, and no results."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

pytest.importorskip("greenlet", reason="the scheduler's threads are greenlets")

from tests.races.explorer import BadOrder, explore
from tests.races.parts import ControlledLock, ControlledMutex
from tests.races.scheduler import Scheduler
from tests.races.steps import ACQUIRE, READ, WRITE

Body = Callable[[], None]
Program = Callable[[Scheduler], list[Body]]
Result = tuple[object, ...]

KINDS = ["read", "write", "section", "section in steps", "set", "set in a section", "wait"]


def player(program: Program) -> Callable[[Sequence[int]], Scheduler]:
    """What plays one order of a program; a thread that waits for ever is fine."""

    def play(prefix: Sequence[int]) -> Scheduler:
        scheduler = Scheduler(prefix)
        for number, body in enumerate(program(scheduler)):
            scheduler.spawn(f"thread {number}", body)
        scheduler.run()
        scheduler.end()
        return scheduler

    return play


def results(program: Program, preemptions: int, *, every: bool = False) -> tuple[set[Result], int]:
    """The results of a program that differ, and in how many orders they were found."""
    found: set[Result] = set()
    report = explore(
        player(program),
        preemptions=preemptions,
        timeouts=preemptions,
        every=every,
        watch=lambda scheduler: found.add(result(scheduler)),
    )
    return found, report.orders


def result(scheduler: Scheduler) -> Result:
    """In which order each thing was touched, but for what can be told in no other way."""
    number = [0] * len(scheduler.fibres)
    things: dict[str, list[tuple[int, set[tuple[int, int]]]]] = {}
    for step in scheduler.steps:
        number[step.fibre] += 1
        for kind, name, _ in step.touched:
            groups = things.setdefault(name, [])
            if kind == ACQUIRE:
                continue
            if not groups or kind == WRITE or groups[-1][0] != kind:
                groups.append((kind, set()))
            groups[-1][1].add((step.fibre, number[step.fibre]))
    return tuple(
        (name, tuple((kind, frozenset(group)) for kind, group in groups))
        for name, groups in sorted(things.items())
    )


def any_plan(seed: int) -> list[list[tuple[str, str]]]:
    """What each of three threads does: this and that, to two of everything."""
    chance = random.Random(seed)
    kinds = [*KINDS, "wait a while"] if seed % 2 else KINDS
    return [
        [(chance.choice(kinds), chance.choice("ab")) for _ in range(chance.randint(2, 4))]
        for _ in range(3)
    ]


class Wakeup:
    """A wake-up, as simple as can be."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.lock = ControlledLock(scheduler, name)
        self.lock.acquire()

    def set(self) -> None:
        try:
            self.lock.release()
        except RuntimeError:
            pass

    def wait(self, timeout: float | None = None) -> bool:
        return self.lock.acquire(timeout=-1 if timeout is None else timeout)


class Toys:
    """What the threads of a program without sense do things to."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.mutexes = {name: ControlledMutex(scheduler, f"mutex {name}") for name in "ab"}
        self.wakeups = {name: Wakeup(scheduler, f"wake-up {name}") for name in "ab"}

    def do_all(self, acts: list[tuple[str, str]]) -> None:
        for kind, name in acts:
            self.do(kind, name)

    def do(self, kind: str, name: str) -> None:
        if kind in ("read", "write"):
            self.scheduler.point(READ if kind == "read" else WRITE, name)
        elif kind == "set":
            self.wakeups[name].set()
        elif kind.startswith("wait"):
            self.wakeups[name].wait(None if kind == "wait" else 1.0)
        else:
            with self.mutexes[name]:
                self.inside(kind, name)

    def inside(self, kind: str, name: str) -> None:
        if kind == "set in a section":
            self.wakeups[name].set()
            return
        self.scheduler.touch(READ, f"guarded {name}")
        if kind == "section in steps":
            self.scheduler.point(WRITE, name)
        self.scheduler.touch(WRITE, f"guarded {name}")


def any_program(seed: int) -> Program:
    """Three threads that do what the plan of a seed says."""

    def program(scheduler: Scheduler) -> list[Body]:
        toys = Toys(scheduler)
        return [partial(toys.do_all, acts) for acts in any_plan(seed)]

    return program


@pytest.mark.parametrize("seed", range(40))
def test_no_result_is_left_out(seed: int) -> None:
    """Whatever any order has as its result, the explorer sees with one preemption more."""
    all_of_them, _ = results(any_program(seed), 1, every=True)
    found, _ = results(any_program(seed), 2)
    assert found >= all_of_them


def test_orders_are_left_out() -> None:
    """The reduction is worth its while: over ten programs, less than half of the orders do."""
    programs = [any_program(seed) for seed in range(0, 20, 2)]
    needed = sum(results(program, 1)[1] for program in programs)
    assert needed < 0.5 * sum(results(program, 1, every=True)[1] for program in programs)


def test_a_lost_update_is_found() -> None:
    """Two threads that read, then write, and the order in which one write is lost."""

    def program(scheduler: Scheduler) -> list[Body]:
        total = 0
        done = 0

        def add() -> None:
            nonlocal total, done
            scheduler.point(READ, "total")
            seen = total
            scheduler.point(WRITE, "total")
            total = seen + 1
            done += 1
            if done == 2 and total < 2:
                scheduler.fail("an update is lost")

        return [add, add]

    explore(player(program), preemptions=0)
    with pytest.raises(BadOrder, match="an update is lost"):
        explore(player(program), preemptions=1)


def test_threads_that_never_meet_have_one_order() -> None:
    """Two threads that touch different things are not interleaved."""

    def program(scheduler: Scheduler) -> list[Body]:
        def touch(name: str) -> None:
            for _ in range(5):
                scheduler.point(WRITE, name)

        return [lambda: touch("one thing"), lambda: touch("another")]

    assert explore(player(program), preemptions=3).orders == 1


def test_a_wait_ends_by_its_wake_up_or_by_its_timeout() -> None:
    """Both ends of a wait with a deadline are tried, and time stands still for none of them."""
    ends: set[tuple[bool, float]] = set()

    def program(scheduler: Scheduler) -> list[Body]:
        wakeup = Wakeup(scheduler, "wake-up")
        return [lambda: ends.add((wakeup.wait(5.0), scheduler.now)), wakeup.set]

    explore(player(program), preemptions=0)
    assert ends == {(True, 1000.0)}
    explore(player(program), preemptions=0, timeouts=1)
    assert ends == {(True, 1000.0), (False, 1005.0)}
