"""The words that scheduler and explorer share: threads, steps, and how a step touches a thing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet  # type: ignore[import-untyped]

__all__ = ["ACQUIRE", "READ", "SET", "WRITE", "Fibre", "Section", "Step", "Touches"]

READ, SET, WRITE, ACQUIRE = range(4)
"""How a thread touches a thing.

The order of two touches does not matter if both read, or if both set what cannot be set twice.
Acquiring a mutex is a step, but no touch: what is done under it is.
"""

Section = tuple[str, int] | None
"""The mutex that a thread has, and the step that it took it with."""

Touches = list[tuple[int, str, Section]]
"""How a step touches which things, and under which mutex."""


class Fibre:
    """One controlled thread, and the step that it takes when it is chosen next."""

    __slots__ = (
        "deadline",
        "done",
        "glet",
        "index",
        "kind",
        "name",
        "parent",
        "ready",
        "section",
        "thing",
    )

    def __init__(self, index: int, name: str, glet: greenlet, parent: int) -> None:
        self.index = index
        self.name = name
        self.glet = glet
        self.parent = parent  # the step that started it; -1 before the first
        self.done = False
        # The next step.
        self.kind = READ
        self.thing = f"start of {name}"
        self.ready: Callable[[], bool] | None = None  # None: it can always go on
        self.deadline = math.inf
        self.section: Section = None


class Step:
    """One step of an order: who took it, who else could have, and what it touched.

    A choice is a thread's index, or `~index` where its timed wait ends by its timeout.
    """

    __slots__ = (
        "choice",
        "enabled",
        "ends_wait",
        "expirable",
        "fibre",
        "previous",
        "spent",
        "touched",
    )

    def __init__(
        self,
        choice: int,
        enabled: list[int],
        expirable: list[int],
        previous: int,
        spent: tuple[int, int],
    ) -> None:
        self.choice = choice
        self.fibre = choice if choice >= 0 else ~choice
        self.enabled = enabled
        self.expirable = expirable
        self.previous = previous  # who took the step before
        self.spent = spent  # preemptions, and timeouts that came early, before it
        self.ends_wait = False  # one that had a deadline
        self.touched: Touches = []

    def preempts(self, choice: int) -> bool:
        """Whether a choice in its place holds up a thread that could go on."""
        return choice >= 0 and choice != self.previous and self.previous in self.enabled

    def hurries(self, choice: int) -> bool:
        """Whether a choice in its place is a timeout while somebody could go on."""
        return choice < 0 and bool(self.enabled)
