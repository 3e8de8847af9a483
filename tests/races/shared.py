"""Attributes and containers that several threads touch, each touch a step of the scheduler's."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .steps import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .parts import ControlledMutex

__all__ = ["Guard", "SharedDeque", "SharedSet", "share"]


class Guard:
    """How the scheduler calls one object, and which mutex guards it. Lives as long as it."""

    __slots__ = ("made", "mutex", "prefix", "scheduler")

    def __init__(self, mutex: ControlledMutex, prefix: str = "") -> None:
        self.scheduler = mutex.scheduler
        self.mutex = mutex
        self.prefix = prefix
        self.made = False  # before, nobody else sees the object


class _Shared:
    """An attribute that several threads touch.

    A guarded one is written under the mutex only. Who has the mutex and reads, cannot be told
    from one who does all of it at once. Who reads without it may do so in the middle of another's
    section, so to write is a step even there. One that is not guarded may change at any time.
    """

    def __init__(self, name: str, default: object, *, guarded: bool) -> None:
        self._name = name
        self._key = f"shared {name}"
        self._default = default
        self._guarded = guarded

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        guard: Guard = instance.guard
        if guard.made:
            if self._guarded and guard.mutex.mine:
                guard.scheduler.touch(READ, guard.prefix + self._name)
            else:
                guard.scheduler.point(READ, guard.prefix + self._name)
        return vars(instance).get(self._key, self._default)

    def __set__(self, instance: Any, value: object) -> None:
        guard: Guard = instance.guard
        scheduler = guard.scheduler
        if guard.made and scheduler.running is not None:
            if self._guarded and not guard.mutex.mine:
                scheduler.fail(f"{guard.prefix}{self._name} is written without the mutex")
            scheduler.point(WRITE, guard.prefix + self._name)
        vars(instance)[self._key] = value


def share(
    base: type, make_guard: Callable[[], Guard], *, guarded: str = "", free: str = ""
) -> type[Any]:
    """A subclass whose named attributes are shared; those not guarded are written by anybody."""
    members: dict[str, Any] = {}
    for names, under in ((guarded, True), (free, False)):
        for name in names.split():
            default = getattr(base, name, None)
            default = None if hasattr(default, "__set__") else default  # a slot
            members[name] = _Shared(name, default, guarded=under)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        self.guard = guard = make_guard()
        base.__init__(self, *args, **kwargs)  # type: ignore[misc]
        guard.made = True

    return type(f"Shared{base.__name__}", (base,), {**members, "__init__": __init__})


class _Container:
    """What the shared containers have in common."""

    def _watch(self, guard: Guard, name: str, *, guarded: bool) -> None:
        self._guard = guard
        self._name = name
        self._guarded = guarded

    def _change(self) -> None:
        scheduler = self._guard.scheduler
        if scheduler.running is not None:
            if self._guarded and not self._guard.mutex.mine:
                scheduler.fail(f"{self._name} is changed without the mutex")
            scheduler.point(WRITE, self._name)

    def _look(self) -> None:
        if self._guarded and self._guard.mutex.mine:
            self._guard.scheduler.touch(READ, self._name)
        else:
            self._guard.scheduler.point(READ, self._name)


class SharedDeque(_Container, deque[Any]):
    """A queue that several threads touch."""

    def __init__(self, guard: Guard, name: str, *, guarded: bool) -> None:
        super().__init__()
        self._watch(guard, name, guarded=guarded)

    def append(self, item: Any, /) -> None:
        self._change()
        super().append(item)

    def popleft(self) -> Any:
        self._change()
        return super().popleft()

    def remove(self, item: Any, /) -> None:
        self._change()
        super().remove(item)

    def clear(self) -> None:
        self._change()
        super().clear()

    def __len__(self) -> int:
        self._look()
        return super().__len__()

    def __iter__(self) -> Iterator[Any]:
        self._look()
        return super().__iter__()

    def __contains__(self, item: object, /) -> bool:
        self._look()
        return super().__contains__(item)

    def __getitem__(self, index: Any, /) -> Any:
        self._look()
        return super().__getitem__(index)


class SharedSet(_Container, set[Any]):
    """A set that several threads touch. To look at it is to get hold of it: see `share()`."""

    def __init__(self, guard: Guard, name: str) -> None:
        super().__init__()
        self._watch(guard, name, guarded=True)

    def add(self, item: Any, /) -> None:
        self._change()
        super().add(item)

    def discard(self, item: Any, /) -> None:
        self._change()
        super().discard(item)
