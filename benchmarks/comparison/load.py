"""Keep connections busy: with wrk, or with a client of our own where there is none.

`python -m benchmarks.comparison.load URL SECONDS CONNECTIONS` prints what our own client found.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.child import environment, module

TIMEOUT = 30
"""Seconds that a request may take."""

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What one client has seen.

    Args:
        requests: how many were answered.
        rate: how many in a second.
        median: milliseconds of the middle one.
        slowest: milliseconds that one of a hundred takes longer than.
    """

    requests: int
    rate: float
    median: float
    slowest: float


def tool(seconds: float) -> str:
    """Return the name of the load generator that is used. wrk takes whole seconds only."""
    return "wrk" if shutil.which("wrk") and seconds >= 1 else "an asyncio client"


def command(url: str, seconds: float, connections: int) -> list[str]:
    """Return the command that keeps connections busy."""
    if tool(seconds) == "wrk":
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency"]
        return ["wrk", *options, "--timeout", f"{TIMEOUT}s", url]
    return module("benchmarks.comparison.load", url, str(seconds), str(connections))


def load(url: str, seconds: float, connections: int) -> Load:
    """Keep connections busy; return what was seen.

    Raises:
        RuntimeError: Some requests failed, so the figures would say nothing.
    """
    called = command(url, seconds, connections)
    done = subprocess.run(
        called, env=environment(), capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The client failed: {done.stderr[-1000:] or done.stdout}")
    if called[0] == "wrk":
        return of_wrk(done.stdout)
    return Load(*json.loads(done.stdout))


@contextmanager
def busy(url: str, connections: int) -> Iterator[None]:
    """Keep connections busy meanwhile, whatever the answers."""
    process = subprocess.Popen(
        command(url, 600, connections),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def of_wrk(output: str) -> Load:
    """Read what wrk prints.

    Raises:
        RuntimeError: Some answers were errors.
    """
    if re.search(r"Non-2xx|Socket errors", output):
        raise RuntimeError(f"Some requests failed:\n{output}")
    counted = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    times = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", output, re.MULTILINE))
    if counted is None or rate is None or len(times) != 2:
        raise RuntimeError(f"wrk did not say all that is asked for:\n{output}")
    return Load(int(counted[1]), float(rate[1]), _time(times["50"]), _time(times["99"]))


def _time(text: str) -> float:
    value, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(value) * MILLISECONDS[unit]


async def keep_busy(url: str, seconds: float, connections: int) -> Load:
    """Keep connections busy with a client of our own."""
    address = urlsplit(url)
    end = perf_counter() + seconds
    start = perf_counter()
    times = await asyncio.gather(
        *(ask_until(end, address.port or 80, address.path) for _ in range(connections))
    )
    found = sorted(chain.from_iterable(times))
    rate = len(found) / (perf_counter() - start)
    return Load(len(found), rate, statistics.median(found), found[int(len(found) * 0.99)])


async def ask_until(end: float, port: int, path: str) -> list[float]:
    """Send one request after another over one connection; return the milliseconds of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    while (begun := perf_counter()) < end or not times:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            await read_answer(reader)
        times.append((perf_counter() - begun) * 1000)
    writer.close()
    return times


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer to its end.

    Raises:
        RuntimeError: It is an error.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"The answer is {head!r}.")
    if length := re.search(rb"content-length: *(\d+)", head):
        await reader.readexactly(int(length[1]))
        return
    while size := int(await reader.readline(), 16):  # it is chunked
        await reader.readexactly(size + 2)
    await reader.readline()


if __name__ == "__main__":
    _, where, lasting, width = sys.argv
    print(json.dumps(asyncio.run(keep_busy(where, float(lasting), int(width)))))
