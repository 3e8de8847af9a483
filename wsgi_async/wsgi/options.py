"""The middleware's options and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wsgi_async.core.base.checks import check_timeout
from wsgi_async.core.base.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core.base.settings import Hook, LoopFactory

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One middleware's options; they never change. See `AsyncLoopMiddleware` for their meaning."""

    id: Hashable
    task_type: Hashable
    force_create: bool
    per: Literal["thread", "process"]
    timeout: float | None
    reuse: bool | Literal["auto"]
    max_idle: int
    max_idle_time: float
    loop_factory: LoopFactory | None
    debug: bool | None
    grace: float
    on_start: Hook | None
    on_stop: Hook | None

    def __post_init__(self) -> None:
        _check_hashable("id", self.id)
        _check_hashable("task_type", self.task_type)
        Settings(**self.manager_settings())
        # The dataclass's own `__init__` does the same: a frozen class has no other way.
        object.__setattr__(self, "timeout", check_timeout(self.timeout))
        if self.per not in ("thread", "process"):
            raise ValueError(f'per is {self.per!r}. Use "thread" or "process".')
        if self.reuse is not True and self.reuse is not False and self.reuse != "auto":
            raise ValueError(f'reuse is {self.reuse!r}. Use True, False or "auto".')
        if self.reuse is True and not self.force_create:
            raise TypeError(
                "reuse and force_create=False cannot be combined. Set one of them: the first gives "
                "each thread a manager of its own, the second lets threads share one."
            )
        if self.per == "process" and (self.reuse is True or not self.force_create):
            other = "reuse" if self.reuse is True else "force_create=False"
            raise TypeError(
                f'per="process" cannot be combined with {other}. Remove one of the two: with '
                'per="process" all threads share one manager.'
            )
        for name in ("loop_factory", "on_start", "on_stop") if self.per == "process" else ():
            _check_hashable(name, getattr(self, name), "Use a function, or give it a __hash__().")

    @property
    def key(self) -> Hashable:
        """Middlewares with equal keys share a thread's manager."""
        settings = tuple(self.manager_settings().values())
        reuse = (self.reuse, self.max_idle, self.max_idle_time)
        return (self.per, self.id, self.task_type, settings, reuse)

    def manager_settings(self) -> dict[str, Any]:
        """The keyword arguments of `AsyncioLoopManager`."""
        return {
            "loop_factory": self.loop_factory,
            "debug": self.debug,
            "grace": self.grace,
            "on_start": self.on_start,
            "on_stop": self.on_stop,
        }


def _check_hashable(
    name: str, value: object, instead: str = "Use a string, or anything that can."
) -> None:
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, which cannot be hashed. {instead}") from None
