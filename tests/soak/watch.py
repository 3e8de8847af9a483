"""What the system knows of processes: memory, descriptors, threads, children."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = 4096
_KIB = 1024


def of_process(pid: int) -> dict[str, int]:
    """The descriptors and threads of a process."""
    folder = Path(f"/proc/{pid}")
    return {
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
    }


def memory_of(pid: int) -> float | None:
    """The resident memory of a process in MiB; None if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _KIB / _KIB
    except (OSError, IndexError):
        return None


def children_of(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Sample(NamedTuple):
    """One process's memory in MiB, and when it was measured, in seconds since the start."""

    at: float
    pid: int
    memory: float


class Watch:
    """Notes each second how much memory each process has. Lives in a `with` block.

    Args:
        processes: The processes of each line of the plot, by its name.
        count: How many requests there were so far.
    """

    def __init__(
        self, processes: dict[str, Callable[[], list[int]]], count: Callable[[], int]
    ) -> None:
        self._processes = processes
        self._count = count
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")
        self._begun = time.monotonic()
        self.samples: dict[str, list[Sample]] = {name: [] for name in processes}
        self.counts: list[tuple[float, int]] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            at = time.monotonic() - self._begun
            self.counts.append((at, self._count()))
            for name, pids in self._processes.items():
                found = [(pid, memory_of(pid)) for pid in pids()]
                self.samples[name] += [Sample(at, pid, memory) for pid, memory in found if memory]
            if self._end.wait(1):
                return

    def growth(self, name: str) -> float | None:
        """By what part the memory has grown in the second half; None if that cannot be told.

        It compares medians of a tenth of the time, as single samples go up and down.
        """
        samples = self.samples[name]
        if not samples:
            return None
        last = samples[-1].at
        middle = [each.memory for each in samples if 0.5 <= each.at / last < 0.6]
        end = [each.memory for each in samples if each.at / last >= 0.9]
        if not middle or not end:
            return None
        return statistics.median(end) / statistics.median(middle) - 1
