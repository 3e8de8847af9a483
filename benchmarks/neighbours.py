"""Other threads of the process that compute without end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cpu_bound_neighbours(count: int) -> Iterator[None]:
    """Have `count` threads that spin in pure Python, so that they always want the interpreter."""
    over = threading.Event()

    def spin() -> None:
        number = 1
        while not over.is_set():
            for _ in range(1000):
                number = number * 1103515245 + 12345 & 0x7FFFFFFF

    threads = [threading.Thread(target=spin) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
