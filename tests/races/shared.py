"""Fields and containers that several threads touch, each touch a step of the scheduler's."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .fields import GUARDED, NEVER_CHANGES, NO_LOCK, ONE_THREAD, Rule, rules_of
from .parts import ControlledMutex
from .steps import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scheduler import Scheduler
    from .steps import Fibre

__all__ = ["UNWATCHED", "Guard", "share"]

UNWATCHED = Rule("Unwatched")
"""Of a field that is not the package's, and that is told from the others."""


class Guard:
    """How the scheduler calls one object. Lives as long as it."""

    __slots__ = ("lock", "made", "maker", "number", "owner", "prefix", "scheduler")

    def __init__(self, scheduler: Scheduler, name: str, number: int) -> None:
        self.scheduler = scheduler
        self.number = number
        self.prefix = f"{name} {number}."
        self.maker: Fibre | None = scheduler.running
        self.made = False  # before, nobody else sees the object
        self.lock: str | None = None  # the very one that it was first written under
        self.owner: Fibre | None = None  # who has touched what one thread only is to touch

    @property
    def active(self) -> bool:
        """Whether the rules hold: not in set-up and clean-up, nor in a forked child."""
        scheduler = self.scheduler
        return self.made and scheduler.running is not None and not scheduler.forked

    def holds(self, rule: Rule) -> bool:
        """Whether the running thread has the lock that guards the field."""
        running = self.scheduler.running
        section = None if running is None else running.section
        if section is None or section[0].rsplit(" ", 1)[0] != rule.lock:
            return False
        if self.lock is None:
            self.lock = section[0]
        return self.lock == section[0]

    def look(self, name: str, rule: Rule) -> None:
        """The running thread reads a field."""
        if rule.kind == ONE_THREAD:
            self._own(name)
        elif rule.kind == GUARDED and self.active and self.holds(rule):
            # It cannot be told from one who does all of it at once, under the lock.
            self.scheduler.touch(READ, self.prefix + name)
        elif self.made:
            self.scheduler.point(READ, self.prefix + name)

    def change(self, name: str, rule: Rule) -> None:
        """The running thread writes a field. Who reads without the lock may do so right now."""
        if rule.kind == ONE_THREAD:
            self._own(name)
            return
        if self.active and rule.kind == GUARDED and not self.holds(rule):
            self.scheduler.fail(f"{self.prefix}{name} is written without {rule.lock}")
        if self.made:
            self.scheduler.point(WRITE, self.prefix + name)

    def keep(self, name: str) -> None:
        """The running thread writes what is not to change any more."""
        if self.active and self.scheduler.running is not self.maker:
            self.scheduler.fail(f"{self.prefix}{name} is changed")

    def _own(self, name: str) -> None:
        if not self.active:
            return
        if self.owner is None:
            self.owner = self.scheduler.running
        elif self.owner is not self.scheduler.running:
            self.scheduler.fail(f"{self.prefix}{name} is touched by a second thread")


class _Shared:
    """A field. A container in it is watched as the field is."""

    def __init__(self, name: str, rule: Rule, default: object) -> None:
        self._name = name
        self._key = f"shared {name}"
        self._rule = rule
        self._default = default

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        instance.guard.look(self._name, self._rule)
        try:
            return vars(instance)[self._key]
        except KeyError:
            if self._default is _NOTHING:
                raise AttributeError(self._name) from None
            return self._default

    def __set__(self, instance: Any, value: object) -> None:
        guard: Guard = instance.guard
        guard.change(self._name, self._rule)
        kind = _CONTAINERS.get(type(value))
        if kind is not None and self._rule.kind != ONE_THREAD:
            value = kind.watched(value, guard, self._name, self._rule)
        vars(instance)[self._key] = value


_NOTHING = object()


def share(
    base: type,
    make_guard: Callable[[str], Guard],
    *,
    early: str = "",
    more: dict[str, Rule] | None = None,
) -> type[Any]:
    """A subclass whose fields are watched, as the package says of each what guards it.

    Args:
        base: The class.
        make_guard: Makes the guard of a new object; takes the class's name.
        early: A list among the fields that the package makes late, past all descriptors.
        more: Rules of fields that are not the package's.
    """
    rules = {**rules_of(base), **(more or {})}

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        vars(self)["guard"] = guard = make_guard(base.__name__)
        if early:
            vars(self)[early] = _CONTAINERS[list].watched((), guard, early, Rule(NO_LOCK))
        base.__init__(self, *args, **kwargs)  # type: ignore[misc]
        _name_mutexes(self, base.__name__)
        guard.made = True

    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        rule = rules.get(name)
        if rule is None:
            self.guard.scheduler.fail(f"nothing is said of {base.__name__}.{name}")
        elif rule.kind == NEVER_CHANGES:
            self.guard.keep(name)
        object.__setattr__(self, name, value)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(self.guard.number)  # so that a set of them is in the same order each time

    own = {"__init__": __init__, "__setattr__": __setattr__, "__hash__": __hash__}
    return type(f"Shared{base.__name__}", (base,), {**_descriptors(base, rules), **own})


def _descriptors(base: type, rules: dict[str, Rule | None]) -> dict[str, _Shared]:
    found = {}
    for name, rule in rules.items():
        if rule is not None and rule.kind in (GUARDED, NO_LOCK, ONE_THREAD):
            default = getattr(base, name, _NOTHING)
            default = _NOTHING if hasattr(default, "__set__") else default  # a slot
            found[name] = _Shared(name, rule, default)
    return found


def _name_mutexes(instance: Any, kind: str) -> None:
    """Call the mutexes that an object has what the comments call them."""
    for name, value in vars(instance).items():
        if isinstance(value, ControlledMutex):
            value.name = f"{kind}.{name} {instance.guard.number}"


class Watched:
    """What the watched containers have in common."""

    _watch: tuple[Guard, str, Rule]

    @classmethod
    def watched(cls, items: Any, guard: Guard, name: str, rule: Rule) -> Any:
        """A container of the same items."""
        made = cls.__new__(cls)
        made._watch = guard, name, rule
        cls.__mro__[2].__init__(made, items)  # type: ignore[misc]
        return made


def _watching(base: type, looks: str, changes: str) -> type[Watched]:
    """A subclass of a container whose methods are steps."""

    def method(name: str, tell: Callable[[Guard, str, Rule], None]) -> Any:
        original = getattr(base, name)

        def call(self: Any, *args: Any) -> Any:
            tell(*self._watch)
            return original(self, *args)

        return call

    members = {name: method(name, Guard.look) for name in looks.split()}
    members |= {name: method(name, Guard.change) for name in changes.split()}
    return type(f"Watched{base.__name__}", (Watched, base), members)


_CONTAINERS: dict[type, type[Watched]] = {
    deque: _watching(
        deque,
        "__len__ __iter__ __contains__ __getitem__",
        "append appendleft pop popleft remove clear",
    ),
    list: _watching(list, "__len__ __iter__ __contains__", "append pop remove clear"),
    set: _watching(set, "__len__ __iter__ __contains__", "add discard update clear"),
    dict: _watching(
        dict,
        "__len__ __iter__ __contains__ __getitem__ get",
        "__setitem__ __delitem__ pop popitem clear",
    ),
    WeakSet: _watching(WeakSet, "__len__ __iter__ __contains__", "add discard"),
}
