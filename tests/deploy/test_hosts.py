"""Two hosts behind nginx, with the data and the queue on a third one, under load."""

from __future__ import annotations

import http.client
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy import hosts as network
from tests.deploy.hosts import CONCURRENCY, PORT, DataHost, WebHost, nginx
from tests.servers.process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.data import Data

for module in ("celery", "psycopg_pool", "redis"):
    pytest.importorskip(module, reason=f"{module} is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.project, pytest.mark.gunicorn]

CLIENTS = 6
THREADS = 16
"""Of one host: more requests cannot be in flight there."""


def get(address: str, port: int, path: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection(address, port, timeout=20)
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


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
        try:
            status, text = get("127.0.0.1", self._port, f"/job/{number}")
        except (OSError, http.client.HTTPException) as error:
            return "", repr(error)
        if status == 200 and f" {number} " in text:
            return text, ""
        return "", f"{status} {text}"

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(CLIENTS)
        for first in range(CLIENTS):
            self._pool.submit(self._client, first)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()

    @property
    def tasks(self) -> list[str]:
        """What was given to the queue, of all that was answered."""
        return [answer.rpartition(" ")[2] for answer in self.answers]

    def wait_for_answers(self, host: WebHost, count: int = 30) -> None:
        """Until a host has answered so many more."""

        def seen() -> int:
            with self._lock:
                return sum(answer.startswith(host.name) for answer in self.answers)

        before = seen()
        wait_until(lambda: seen() >= before + count, what=f"answers of {host.name}")


@dataclass
class Site:
    """Two hosts, a third one with the data, and the port of the proxy in front."""

    first: WebHost
    second: WebHost
    center: DataHost
    data: Data
    port: int = 0


@pytest.fixture(scope="module")
def hosts() -> Iterator[Site]:
    from tests.deploy import data

    if reason := network.missing() or data.missing():
        pytest.skip(reason)
    if not Path("/usr/sbin/nginx").exists():
        pytest.skip("nginx is not installed (Debian's package nginx-light)")
    with ExitStack() as stack:
        center = stack.enter_context(DataHost(2))
        stored = stack.enter_context(data.data_on(center))
        first, second = (WebHost(number, stored.environment) for number in (3, 4))
        for host in (first, second):
            center.connect(stack.enter_context(host))
            host.begin()
        for host in (first, second):
            host.wait_for_worker()
        yield Site(first, second, center, stored)


@pytest.fixture(scope="module")
def site(hosts: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With an nginx that has the settings of `deploy/`, but for the addresses."""
    config = Path("deploy/nginx.conf").read_text()
    hosts.port = free_port()
    for number, host in enumerate((hosts.first, hosts.second), 1):
        config = config.replace(f"board-{number}:8000", f"{host.address}:{PORT}")
    config = re.sub(r"listen 8000;", f"listen 127.0.0.1:{hosts.port}; access_log off;", config)
    config = config.replace("worker_processes auto", "worker_processes 1")
    with nginx(config, tmp_path_factory.mktemp("nginx")):
        yield hosts


@pytest.mark.timeout(240)
def test_a_host_is_drained(site: Site) -> None:
    """While a host and its queue worker end after a SIGTERM, and come back, nothing is lost.

    Under load Celery may leave the last task of each process unacknowledged, sync ones too, so it
    is done again.
    """
    with Load(site.port) as load:
        load.wait_for_answers(site.first)
        site.first.stop("web")
        site.first.stop("queue")
        load.wait_for_answers(site.second)
        site.first.begin()
        site.first.wait_for_worker()
        load.wait_for_answers(site.first)
    assert load.lost == []
    site.data.wait_until_done(load.tasks)
    assert len(site.data.done_again(load.tasks)) <= CONCURRENCY


def test_a_host_is_reloaded(site: Site) -> None:
    """While gunicorn replaces its workers after a SIGHUP, no request and no task is lost."""
    server = site.second.servers["web"]
    with Load(site.port) as load:
        load.wait_for_answers(site.second)
        server.signal(signal.SIGHUP)
        server.wait_for("Booting worker", count=4)
        server.wait_for("Worker exiting", count=2)
        load.wait_for_answers(site.second)
    assert load.lost == []
    site.data.wait_until_done(load.tasks)
    assert site.data.done_again(load.tasks) == []


def test_a_view_that_is_out_of_order(site: Site) -> None:
    """When one view answers 503, all hosts still answer for the other views."""
    for number in range(10):
        assert get("127.0.0.1", site.port, "/busy") == (503, "not now")
        status, text = get("127.0.0.1", site.port, f"/job/{number}")
        assert status == 200, text


def begun_on(site: Site, victim: WebHost) -> list[str]:
    """Tasks that the queue worker of a host has begun and cannot end, as many as it can.

    So it takes no other one. Celery takes a task out of Redis before it notes it as unacknowledged:
    a kill between the two would lose the task.
    """
    held: list[str] = []

    def submit_and_look() -> bool:
        # The other host gives them to the queue.
        held.append(get(site.second.address, PORT, f"/hold/{victim.name}")[1])
        begun = site.data.rows(f"SELECT 1 FROM begun WHERE host = '{victim.name}'")
        return len(begun) == CONCURRENCY

    wait_until(submit_and_look, what=f"{CONCURRENCY} tasks on {victim.name}")
    return held


@pytest.fixture
def victim(site: Site) -> Iterator[WebHost]:
    """A host to lose. It comes back for the other tests."""
    yield site.first
    site.center.connect(site.first)
    site.first.begin()
    site.first.wait_for_worker()


@pytest.mark.timeout(90)
def test_a_host_is_killed(site: Site, victim: WebHost) -> None:
    """When a host is gone at once, at most what was in flight on it is lost, and no task.

    What its queue worker had not acknowledged is done by the other one. Of these, a task that was
    done already is done again: at most as many as the worker does at a time.
    """
    second = site.second
    with Load(site.port) as load:
        load.wait_for_answers(victim)
        held = begun_on(site, victim)
        victim.kill()
        site.center.disconnect(victim)
        load.wait_for_answers(second, 100)
    assert len(load.lost) <= THREADS
    tasks = load.tasks + held
    site.data.wait_until_done(tasks)
    again = site.data.done_again(tasks)
    assert len(again) <= CONCURRENCY
    assert [sorted(hosts) for hosts in again] == [sorted([victim.name, second.name])] * len(again)
