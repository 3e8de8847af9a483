"""A small load generator for where `wrk` is not at hand, in a process of its own.

`python -m benchmarks.client PORT PATH SECONDS CONNECTIONS` prints requests per second.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from time import perf_counter


def ask(port: int, path: str, deadline: float) -> int:
    """Send one request after another over one connection until `deadline`; return how many."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    count = 0
    try:
        while perf_counter() < deadline:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"{path} answered {response.status}.")
            count += 1
    finally:
        connection.close()
    return count


def requests_per_second(port: int, path: str, seconds: float, connections: int) -> float:
    """Keep `connections` busy for `seconds`, and return the requests per second of all."""
    start = perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        asked = [pool.submit(ask, port, path, start + seconds) for _ in range(connections)]
        total = sum(each.result() for each in asked)
    return total / (perf_counter() - start)


if __name__ == "__main__":
    _, at, asked_path, lasting, width = sys.argv
    print(requests_per_second(int(at), asked_path, float(lasting), int(width)))
