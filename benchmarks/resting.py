"""Keep managers at rest and tell what they cost, as JSON: `python -m benchmarks.resting 100 5`.

A process of its own, so that nothing else is counted. One manager with a thread of its own is made
first and not counted: it brings the modules, and whatever all managers share.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import manager
from benchmarks.work import noop
from benchmarks.workers import worker_threads
from wsgi_async import AsyncioLoopManager, LoopThreadPoolExecutor, current_manager
from wsgi_async.metrics import start_metrics
from wsgi_async.watchdog import start_watchdog

SETTLE = 0.5
"""Seconds after which a manager that has worked is at rest."""


def memory() -> float | None:
    """Return the process's memory in KiB, shared pages by share, or None where nobody tells."""
    gc.collect()
    if tracemalloc.is_tracing():
        return tracemalloc.get_traced_memory()[0] / 1024
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def descriptors() -> float | None:
    """Return how many file descriptors the process has open, or None where nobody tells."""
    folder = Path("/proc/self/fd")
    return float(len(list(folder.iterdir()))) if folder.is_dir() else None


def threads() -> float:
    """Return how many threads the process has; the system's count where it tells."""
    folder = Path("/proc/self/task")
    return (
        float(len(list(folder.iterdir()))) if folder.is_dir() else float(threading.active_count())
    )


def of_one(after: float | None, before: float | None, count: int) -> float | None:
    """Return what one of `count` added."""
    return None if after is None or before is None else (after - before) / count


def idle_cpu(seconds: float) -> float:
    """Return the share of one core that the process uses while it waits, in percent."""
    start, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return 100 * (time.process_time() - used) / (time.perf_counter() - start)


def keepers(count: int, seconds: float) -> dict[str, float | None]:
    """Make `count` managers in this thread, let each work once, and tell what they cost."""
    with ExitStack() as stack:

        def make() -> AsyncioLoopManager:
            return stack.enter_context(manager())

        work(make())
        time.sleep(SETTLE)
        had = descriptors(), threads(), memory()
        made = [make() for _ in range(count)]
        time.sleep(SETTLE)
        started = memory()
        for each in made:
            work(each)
        time.sleep(SETTLE)
        has = descriptors(), threads(), memory()
        return {
            "descriptors": of_one(has[0], had[0], count),
            "threads": has[1] - had[1],
            "memory_started": of_one(started, had[2], count),
            "memory_used": of_one(has[2], had[2], count),
            "cpu": idle_cpu(seconds),
        }


def residents(count: int, seconds: float) -> dict[str, float | None]:
    """Have `count` threads with a loop each, let each work once, and tell what they cost.

    `threads` are those beside the worker threads themselves.
    """
    together = threading.Barrier(count)

    def work_here() -> None:
        work(current_manager())
        together.wait()  # so that each thread gets one

    had = threads()
    with LoopThreadPoolExecutor(count) as pool:
        for each in [pool.submit(work_here) for _ in range(count)]:
            each.result()
        time.sleep(SETTLE)
        return {"threads": threads() - had - count, "cpu": idle_cpu(seconds)}


def work(made: AsyncioLoopManager) -> None:
    """Use a manager."""
    made.run(noop())
    made.submit_task(noop()).result()


def main() -> None:
    """Run as a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--resident", action="store_true")
    parser.add_argument("--watched", action="store_true")
    options = parser.parse_args()
    if options.watched:
        start_watchdog(run_longer_than=30)
        start_metrics()
    if options.trace:
        tracemalloc.start()
    measure = residents if options.resident else keepers
    with worker_threads(1) as pool:
        found = pool.submit(measure, options.count, options.seconds).result()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
