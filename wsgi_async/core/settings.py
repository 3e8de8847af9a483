"""What a manager can be told at construction, and the checks of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal

from .seam import Seam

__all__ = ["Drive", "LoopFactory", "Settings"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Drive = Literal["auto", "keeper", "caller"]

_seam = Seam()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One manager's settings; they never change. `AsyncioLoopManager` says what each means.

    Raises:
        TypeError, ValueError: One of them cannot be used.
    """

    loop_factory: LoopFactory | None = None
    drive: Drive = "auto"
    debug: bool | None = None
    linger: float = 0.005
    grace: float = 5.0
    max_pause: float = 1.0
    seam: Seam = field(default=_seam)

    def __post_init__(self) -> None:
        if self.loop_factory is not None and not callable(self.loop_factory):
            raise TypeError(
                f"loop_factory is {self.loop_factory!r}. Give a callable that makes a loop."
            )
        if self.drive not in ("auto", "keeper", "caller"):
            raise ValueError(f'drive is {self.drive!r}. It is one of "auto", "keeper", "caller".')
        self._check_seconds()

    def _check_seconds(self) -> None:
        for name in ("linger", "grace", "max_pause"):
            seconds: object = getattr(self, name)
            if not isinstance(seconds, Real):
                raise TypeError(f"{name} is {seconds!r}. Give a number of seconds from zero.")
            if not 0 <= float(seconds) < math.inf:
                raise ValueError(f"{name} is {seconds!r}. Give a number of seconds from zero.")
