"""Calls of a Redis GET from one worker thread, and views that make some: alone and under load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from importlib.util import find_spec
from threading import Event
from time import perf_counter_ns

from benchmarks import contenders
from benchmarks.calls import opened
from benchmarks.contenders import Contender
from benchmarks.effort import Effort
from benchmarks.redis_server import KEY, redis_server
from benchmarks.requests import Route, check, side_by_side
from benchmarks.server import THREADS, Served, servers
from benchmarks.timing import Measure, Scenario, batch, interleave
from benchmarks.work import OnLoop, Setting, Work, beside_task
from benchmarks.workers import worker_threads

BESIDE = ("limit", "resident", "keeper", "process")
VIEWS = (*BESIDE, "uvloop_resident", "uvloop_keeper", "uvloop_process")
"""Ways to serve the views; see `redis_app.application()`."""

NEIGHBOURS = 2
"""CPU-bound requests that are under way all the time."""


@contextmanager
def a_get(port: int, on: OnLoop) -> Iterator[Work]:
    """Have a client that is connected to Redis; call a GET."""
    from redis.asyncio import Redis

    client = Redis(port=port, decode_responses=True)

    async def get() -> None:
        await client.get(KEY)

    on.run(get())  # connects
    try:
        yield get
    finally:
        on.run(client.aclose())


def alone(effort: Effort) -> Scenario:
    """Calls of a GET back to back: microseconds a call."""
    with redis_server() as port:
        chosen = contenders.living() + contenders.on_uvloop()
        return back_to_back(chosen, partial(a_get, port), effort)


def beside_a_task(effort: Effort) -> Scenario:
    """The same while a task waits on the loop: microseconds a call."""
    with redis_server() as port:
        return back_to_back(contenders.living(), beside_task(partial(a_get, port)), effort)


def back_to_back(chosen: Sequence[Contender], setting: Setting, effort: Effort) -> Scenario:
    """Measure batches, which are equally long for all: most of the time is that of the GET."""
    with opened(chosen, setting) as workers:
        measures = {
            key: worker.measured(batch, effort.redis_calls) for key, worker in workers.items()
        }
        return interleave(measures, "us", rounds=effort.redis_rounds)


@contextmanager
def sites(ways: Sequence[str]) -> Iterator[dict[str, int]]:
    """Serve the views in several ways, each by a server of its own; gives the port of each."""
    with redis_server() as redis:
        apps = {
            way: Served(
                f"benchmarks.redis_app:application({redis}, {way!r})",
                resident=way.endswith("resident"),
                threads=THREADS,
            )
            for way in ways
        }
        with servers(apps) as ports:
            yield ports


def ten_gets(effort: Effort) -> Scenario:
    """Requests per second of a view that makes ten GETs, each by a call of its own."""
    has_uvloop = find_spec("uvloop") is not None
    with sites([way for way in VIEWS if has_uvloop or not way.startswith("uvloop_")]) as ports:
        return side_by_side({way: Route(port, "/ten") for way, port in ports.items()}, effort)


def beside_cpu_bound(effort: Effort) -> Scenario:
    """Milliseconds of a view with three GETs, while the process has CPU-bound requests too."""
    with sites(BESIDE) as ports:
        measures: dict[str, Measure] = {
            way: partial(answer_times, port, effort.beside_requests) for way, port in ports.items()
        }
        check(Route(port, "/three") for port in ports.values())
        return interleave(measures, "ms", rounds=effort.beside_rounds)


def answer_times(port: int, count: int) -> Sequence[float]:
    """Ask for three GETs `count` times, one after the other; return the milliseconds of each."""
    over = Event()
    with worker_threads(NEIGHBOURS + 1) as pool:
        asked = [pool.submit(keep_asking, port, "/compute", over) for _ in range(NEIGHBOURS)]
        try:
            return pool.submit(time_each, port, "/three", count).result()
        finally:
            over.set()
            for each in asked:
                each.result()


def keep_asking(port: int, path: str, over: Event) -> None:
    """Send one request after another over one connection."""
    with connected(port) as connection:
        while not over.is_set():
            ask(connection, path)


def time_each(port: int, path: str, count: int) -> Sequence[float]:
    """Do the same `count` times; return the milliseconds of each."""
    found: list[float] = []
    with connected(port) as connection:
        for _ in range(count):
            start = perf_counter_ns()
            ask(connection, path)
            found.append((perf_counter_ns() - start) / 1e6)
    return found


@contextmanager
def connected(port: int) -> Iterator[HTTPConnection]:
    """Have a connection that stays open."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: HTTPConnection, path: str) -> None:
    """Send one request, and read the answer."""
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}.")
