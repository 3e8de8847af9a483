"""Every order of a scenario's steps, up to a bound: which ones to try, and which are the same.

Two neighbouring steps that do not touch the same thing (or both only read it) give the same
result in either order. So only where two steps of different threads do meet, and nothing else has
put them in their order, is the other order tried: dynamic partial-order reduction (Flanagan and
Godefroid, 2005). The number of preemptions is bounded, and a race is also tried from the last
place where the threads changed anyway, as a bound needs it (Coons, Musuvathi, McKinley, 2013).

What the reduction leaves out at the very bound, it finds with one preemption more: it has all
results that every single order with one preemption less has (tried in `test_explorer.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .analysis import Races

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .scheduler import Scheduler
    from .steps import Step

__all__ = ["BadOrder", "Report", "explore"]


class BadOrder(AssertionError):
    """An order in which something goes wrong; tells it step by step."""


@dataclass
class Report:
    """What an exploration has covered."""

    orders: int = 0
    steps: int = 0  # of the longest order
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.orders} orders of up to {self.steps} steps in {self.seconds:.1f} s"


@dataclass
class _Node:
    """A state on the way of the present order, before its step."""

    step: Step
    wanted: set[int] = field(default_factory=set)
    tried: set[int] = field(default_factory=set)


def explore(
    play: Callable[[Sequence[int]], Scheduler],
    *,
    preemptions: int,
    timeouts: int = 0,
    every: bool = False,
    watch: Callable[[Scheduler], None] | None = None,
) -> Report:
    """Play every order.

    Args:
        play: Plays the order that begins with these choices, checks it, cleans up.
        preemptions: How often in one order a thread is held up that could go on.
        timeouts: How often in one order a timeout ends while somebody could go on.
        every: Try every choice everywhere: no reduction. For small cases.
        watch: Shown each order.

    Raises:
        BadOrder: In one of them something goes wrong.
    """
    began = time.perf_counter()
    report = Report()
    nodes: list[_Node] = []
    prefix: list[int] | None = []
    while prefix is not None:
        scheduler = play(prefix)
        report.orders += 1
        report.steps = max(report.steps, len(scheduler.steps))
        if scheduler.problem is not None:
            raise BadOrder(_tell(scheduler, report)) from scheduler.error
        if watch is not None:
            watch(scheduler)
        _extend(nodes, scheduler.steps)
        if every:
            for node in nodes[scheduler.first :]:
                node.wanted.update(node.step.enabled, node.step.expirable)
        else:
            Races(scheduler, nodes).find()
        prefix = _next(nodes, preemptions, timeouts)
        scheduler.steps.clear()  # what is needed of it, the nodes have; the rest is a cycle
    report.seconds = time.perf_counter() - began
    return report


def _extend(nodes: list[_Node], steps: list[Step]) -> None:
    """Add the states that the last order has come by for the first time."""
    for at in range(max(0, len(nodes) - 1), len(steps)):
        if at == len(nodes):
            nodes.append(_Node(steps[at]))
        nodes[at].step = steps[at]
        nodes[at].tried.add(steps[at].choice)


def _next(nodes: list[_Node], preemptions: int, timeouts: int) -> list[int] | None:
    """The choices that lead to the deepest order not tried yet."""
    while nodes:
        step = nodes[-1].step
        for choice in sorted(nodes[-1].wanted - nodes[-1].tried):
            if (
                step.spent[0] + step.preempts(choice) <= preemptions
                and step.spent[1] + step.hurries(choice) <= timeouts
            ):
                return [*(node.step.choice for node in nodes[:-1]), choice]
        nodes.pop()
    return None


def _tell(scheduler: Scheduler, report: Report) -> str:
    """The order, a line for each time that the thread changes."""
    names = ["read", "set", "write", "acquire"]
    lines = [f"order {report.orders}: {scheduler.problem}"]
    last = -1
    for at, step in enumerate(scheduler.steps):
        if step.fibre != last:
            last = step.fibre
            lines.append(f"{at:5} {scheduler.fibres[last].name}: ")
        kind, thing, _ = step.touched[0]
        what = f"time passes for {thing}" if step.choice < 0 else f"{names[kind]} {thing}"
        lines[-1] += f"{what}; "
    lines.extend(
        f"not ended: {fibre.name}, before {names[fibre.kind]} {fibre.thing}"
        for fibre in scheduler.fibres
        if not fibre.done
    )
    return "\n".join(lines)
