"""What the public interface promises, in a few lines: threads, their managers, and what is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


@dataclass(eq=False)
class Thread:
    """A thread and what a look-up finds in it."""

    parent: Thread | None
    of_pool: bool
    ended: bool = False
    variable: int = 0
    found: dict[Hashable, Manager] = field(default_factory=dict)
    managers: list[Manager] = field(default_factory=list)

    def line(self) -> Iterator[Thread]:
        thread: Thread | None = self
        while thread is not None:
            yield thread
            thread = thread.parent

    def find(self, id: Hashable) -> Manager | None:
        """The nearest one that is of a living thread and whose loop lives on no other thread."""
        for thread in self.line():
            manager = thread.found.get(id)
            if manager is None or thread.ended or manager.state == "stopped":
                continue
            if thread is self or not manager.resident:
                return manager
        return None

    def make(self, id: Hashable) -> Manager:
        manager = self.found[id] = Manager(id, self)
        self.managers.append(manager)
        return manager

    def end(self) -> None:
        self.ended = True
        for manager in self.managers:
            manager.stop()


@dataclass(eq=False)
class Manager:
    """A manager's state, and what is open on its loop."""

    id: Hashable
    thread: Thread
    state: str = "new"
    task_type: Hashable = None
    resident: bool = False
    pending: list[Future] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    resources: dict[str, int] = field(default_factory=dict)

    def start(self, task_type: Hashable, by: Thread) -> bool:
        """False if it is refused."""
        if self.state == "running" or self.thread.ended:
            return False
        seat_taken = any(each.resident for each in self.thread.managers)
        self.resident = by is self.thread and by.of_pool and not seat_taken
        self.state, self.task_type = "running", task_type
        self.thread.found.setdefault(self.id, self)
        return True

    def stop(self) -> None:
        if self.thread.found.get(self.id) is self:
            del self.thread.found[self.id]
        if self.state == "new":
            return
        self.state, self.task_type, self.resident = "stopped", None, False
        for future in self.pending:
            future.state = "stopped"
        for stream in self.streams:
            if stream.state == "open":
                stream.state = "stopped"
        self.pending.clear()
        self.streams.clear()
        self.resources.clear()


@dataclass(eq=False)
class Future:
    """A submitted task: pending, or how it has ended."""

    manager: Manager
    state: str = "pending"
    value: Any = None

    def end(self, state: str, value: Any = None) -> None:
        self.state, self.value = state, value
        self.manager.pending.remove(self)


@dataclass(eq=False)
class Stream:
    """A stream of numbers: open, ended, closed, or stopped with its manager."""

    manager: Manager
    length: int
    given: int = 0
    state: str = "open"

    def end(self, state: str) -> None:
        self.state = state
        self.manager.streams.remove(self)
