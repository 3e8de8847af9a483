"""A loop of a class that nobody knows."""

from __future__ import annotations

import asyncio
from typing import Any


class ForeignLoop(asyncio.AbstractEventLoop):
    """Works as asyncio's, by handing everything on, but is none of its classes."""

    def __init__(self) -> None:
        self.inner = asyncio.new_event_loop()


def _forward(name: str) -> Any:
    def method(self: ForeignLoop, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, name)(*args, **kwargs)

    return method


for _name in vars(asyncio.AbstractEventLoop):
    if not _name.startswith("__"):
        setattr(ForeignLoop, _name, _forward(_name))
ForeignLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
