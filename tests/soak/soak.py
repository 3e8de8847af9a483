"""One soak run: it starts servers and clients, disturbs them, and gives a verdict."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak import servers
from tests.soak.client import Client, Gate
from tests.soak.disturber import Disturber
from tests.soak.servers import THREADS, Process, SoakServer
from tests.soak.tally import Tally
from tests.soak.watch import Watch

CLIENTS = 8
MOST_GROWTH = 0.01
STEPS = 2.0
"""MiB by which memory may seem to grow, as Python's allocator takes it in steps of 1 MiB."""
LONG = 300.0
"""Seconds from which on a soak is long enough to say whether memory grows."""


class Result(NamedTuple):
    """What a soak has found."""

    seed: str
    seconds: float
    tally: Tally
    inside: dict[str, Any]
    watch: Watch
    quiet: int
    dropped: int
    """Requests that a gunicorn with its own worker class closed before the application had them."""
    wrong: list[str]
    """What is wrong; nothing if the soak has passed."""

    @property
    def growths(self) -> dict[str, float | None]:
        return {name: self.watch.growth(name) for name in self.watch.samples if name in STEADY}


STEADY = ("steady-loop", "steady-gthread", "inside")


def soak(seconds: float, seed: str, folder: Path, clients: int = CLIENTS) -> Result:
    """Soak everything for so many seconds, and look for what is wrong."""
    with ExitStack() as stack:
        called = servers.listening()
        stack.callback(called.close)
        arguments = ["-m", "tests.soak.upstream", str(called.fileno())]
        stack.enter_context(Process(arguments, folder, "upstream", called))
        address = f"http://127.0.0.1:{called.getsockname()[1]}"
        served = [stack.enter_context(one) for one in servers.both(folder, address)]
        steady = [one for one in served if not one.recycled]
        baseline = {one.name: _warm_up(one) for one in steady}
        arguments = ["-m", "tests.soak.inside", str(seconds), seed]
        inside = stack.enter_context(Process(arguments, folder, "inside", None, **servers.ONE_HEAP))
        tally, gate = Tally(), Gate(clients)
        watch = Watch(
            {one.name: one.workers for one in served} | {"inside": lambda: [inside.pid]},
            lambda: tally.requests,
        )
        workers = [
            Client(f"{seed}-{number}", f"{seed}-{number}", served, tally, gate)
            for number in range(clients)
        ]
        quiet, left = 0, list[str]()
        recycled = [one for one in served if one.recycled]
        with watch, _Threads(workers, gate), Disturber(recycled, f"{seed}-disturber", tally):
            end = time.monotonic() + seconds
            while (rest := end - time.monotonic()) > 0:
                time.sleep(min(rest, max(5.0, seconds / 8)))
                if not gate.close():
                    left.append("the clients did not come to rest")
                left += [found for one in steady for found in _left_in(one, baseline[one.name])]
                quiet += 1
                gate.open()
        found = _read_inside(inside)
        wrong = [*left, *_verdict_of_inside(found), *_stop(served)]
        dropped, lost = _sort_lost(tally, served)
        wrong += [*tally.wrong, *(f"hung: {each}" for each in tally.hung), *lost]
        result = Result(seed, seconds, tally, found, watch, quiet, dropped, wrong)
        if seconds >= LONG:
            blocks = {one.name: one.blocks for one in steady} | {"inside": found["blocks"]}
            wrong += [each for name in STEADY for each in _growth(watch, name, blocks[name])]
        return result


class _Threads:
    """The clients' threads. Lives in a `with` block."""

    def __init__(self, clients: list[Client], gate: Gate) -> None:
        self._gate = gate
        self._threads = [threading.Thread(target=one.work, name=one.name) for one in clients]

    def __enter__(self) -> None:
        for one in self._threads:
            one.start()

    def __exit__(self, *_: object) -> None:
        self._gate.end()
        for one in self._threads:
            one.join()


def _warm_up(server: SoakServer) -> dict[str, int]:
    """Have each thread open what it keeps open; what there is of everything then."""
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(THREADS * 2) as clients:
        while True:
            paths = [f"/warm?token=warm-{number}" for number in range(THREADS * 2)]
            if max(clients.map(server.get, paths)) == THREADS * 2:
                break
            assert time.monotonic() < deadline, f"{server.name} does not warm up"
    server.settled({}, seconds=1)
    return server.stats()


def _growth(watch: Watch, name: str, blocks: list[int]) -> list[str]:
    """How the memory of a process has grown in the second half, if it has.

    The blocks are exact. The resident memory goes up in the allocator's steps of 1 MiB, two of
    which are let pass.
    """
    found = []
    if not blocks or blocks[-1] > (1 + MOST_GROWTH) * blocks[len(blocks) // 2]:
        some = blocks[:: max(1, len(blocks) // 9)]
        found.append(f"{name}: there are more and more blocks of memory: {some}")
    growth = watch.growth(name)
    if growth is None:
        found.append(f"{name}: it cannot be told whether its memory has grown")
    elif growth > MOST_GROWTH and growth * watch.samples[name][-1].memory > STEPS:
        found.append(f"{name}: memory has grown by {growth:.1%} in the second half")
    return found


def _left_in(server: SoakServer, baseline: dict[str, int]) -> list[str]:
    """What there is more of in a quiet moment than at the start."""
    try:
        more = server.settled(baseline)
    except Exception as error:
        return [f"{server.name} does not tell what is open: {error!r}"]
    return [f"{server.name}: {more} beside {baseline}"] if more else []


def _read_inside(inside: Process) -> dict[str, Any]:
    status = inside.wait(60)
    lines = list(inside.lines())
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        found = {
            "done": {},
            "rounds": 0,
            "wrong": ["it has told nothing"],
            "left": [],
            "blocks": [],
        }
    if status != 0 or len(lines) > 1:
        found["wrong"].append(f"inside ended with {status} and wrote {''.join(lines[:-1])[-2000:]}")
    return found


def _verdict_of_inside(found: dict[str, Any]) -> list[str]:
    return [*found["wrong"], *found["left"]]


def _stop(served: list[SoakServer]) -> list[str]:
    """Stop the servers in order; what was not in order, in their logs too."""
    for server in served:
        server.signal(signal.SIGTERM)
    statuses = {server.name: server.wait(60) for server in served}
    wrong = [f"{name} ended with {status}" for name, status in statuses.items() if status != 0]
    return wrong + [found for server in served for found in server.findings()]


def _sort_lost(tally: Tally, served: list[SoakServer]) -> tuple[int, list[str]]:
    """How many requests gunicorn's own worker never handed on, and those that were lost."""
    begun = {
        server.name: set(server.begun.read_text().split())
        for server in served
        if server.worker == "gthread" and server.recycled and server.begun.exists()
    }
    lost, dropped = [], 0
    for one in tally.lost:
        if one.server in begun and one.token not in begun[one.server]:
            dropped += 1
        else:
            lost.append(f"lost: {one.server} {one.why}")
    return dropped, lost


def any_seed() -> str:
    return str(random.SystemRandom().randrange(1_000_000))
