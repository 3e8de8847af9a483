"""Two hosts behind nginx, under load."""

from __future__ import annotations

import http.client
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy.hosts import PORT, Host, missing, nginx
from tests.servers.process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.project, pytest.mark.gunicorn]

CLIENTS = 6
THREADS = 16
"""Of one host: more requests cannot be in flight there."""


class Load:
    """Clients that send one request after the other until they are told to end.

    Args:
        port: Of the proxy.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._end = threading.Event()
        self._lock = threading.Lock()
        # Guarded by the lock:
        self.answers: list[str] = []
        self.lost: list[str] = []

    def _client(self, first: int) -> None:
        number = first
        while not self._end.is_set():
            number += CLIENTS
            answer, error = self._request(number)
            with self._lock:
                (self.lost if error else self.answers).append(error or answer)

    def _request(self, number: int) -> tuple[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", f"/job/{number}")
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return "", repr(error)
        finally:
            connection.close()
        if response.status == 200 and text.endswith(f" {number}"):
            return text, ""
        return "", f"{response.status} {text}"

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(CLIENTS)
        for first in range(CLIENTS):
            self._pool.submit(self._client, first)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()

    def wait_for_answers(self, host: Host, count: int = 30) -> None:
        """Until a host has answered so many more."""

        def seen() -> int:
            with self._lock:
                return sum(answer.startswith(host.name) for answer in self.answers)

        before = seen()
        wait_until(lambda: seen() >= before + count, what=f"answers of {host.name}")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    if reason := missing():
        pytest.skip(reason)
    with Host(1) as first, Host(2) as second:
        first.start()
        second.start()
        yield first, second


@pytest.fixture(scope="module")
def proxy(hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """nginx with the settings of `deploy/`, but for the addresses."""
    if not Path("/usr/sbin/nginx").exists():
        pytest.skip("nginx is not installed (Debian's package nginx-light)")
    config = Path("deploy/nginx.conf").read_text()
    port = free_port()
    for number, host in enumerate(hosts, 1):
        config = config.replace(f"board-{number}:8000", f"{host.address}:{PORT}")
    config = re.sub(r"listen 8000;", f"listen 127.0.0.1:{port}; access_log off;", config)
    config = config.replace("worker_processes auto", "worker_processes 1")
    with nginx(config, tmp_path_factory.mktemp("nginx")):
        yield port


def test_a_host_is_drained(hosts: tuple[Host, Host], proxy: int) -> None:
    """While a host ends after a SIGTERM, and comes back, no request is lost."""
    first, second = hosts
    with Load(proxy) as load:
        load.wait_for_answers(first)
        first.signal(signal.SIGTERM)
        assert first.server is not None
        first.server.wait()
        load.wait_for_answers(second)
        first.kill()
        first.start()
        load.wait_for_answers(first)
    assert load.lost == []


def test_a_host_is_reloaded(hosts: tuple[Host, Host], proxy: int) -> None:
    """While gunicorn replaces its workers after a SIGHUP, no request is lost."""
    _, second = hosts
    with Load(proxy) as load:
        load.wait_for_answers(second)
        assert second.server is not None
        second.signal(signal.SIGHUP)
        second.server.wait_for("Booting worker", count=4)
        second.server.wait_for("Worker exiting", count=2)
        load.wait_for_answers(second)
    assert load.lost == []


def test_a_host_is_killed(hosts: tuple[Host, Host], proxy: int) -> None:
    """When a host is gone at once, at most what was in flight on it is lost."""
    first, second = hosts
    with Load(proxy) as load:
        load.wait_for_answers(first)
        first.kill()
        load.wait_for_answers(second, 100)
    assert len(load.lost) <= THREADS
