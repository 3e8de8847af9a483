"""The settings of a manager, and their checks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

from .primitives import Primitives

__all__ = ["Hook", "LoopFactory", "Settings", "primitives"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Hook = Callable[[], object]

primitives = Primitives()
"""The primitives that the whole process uses, except in tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One manager's settings; they never change. `AsyncioLoopManager` documents them.

    Raises:
        TypeError, ValueError: A setting cannot be used.
    """

    loop_factory: LoopFactory | None = None
    debug: bool | None = None
    grace: float = 5.0
    on_start: Hook | None = None
    on_stop: Hook | None = None
    primitives: Primitives = field(default=primitives)

    def __post_init__(self) -> None:
        if self.loop_factory is not None and not callable(self.loop_factory):
            raise TypeError(
                f"loop_factory is {self.loop_factory!r}. Give a callable that makes a loop."
            )
        for name, hook in (("on_start", self.on_start), ("on_stop", self.on_stop)):
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} is {hook!r}. Give a function, plain or async.")
        if not isinstance(self.grace, Real):
            raise TypeError(f"grace is {self.grace!r}. Give a number of seconds from zero.")
        if not 0 <= float(self.grace) < math.inf:
            raise ValueError(f"grace is {self.grace!r}. Give a number of seconds from zero.")
