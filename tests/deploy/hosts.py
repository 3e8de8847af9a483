"""Hosts with a network of their own: network namespaces of this machine.

The one with the data has a bridge, which the others and this machine are connected to. It is in a
namespace too, so the rules of this machine's firewall do not matter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from tests.servers.process import CELERY_LIMIT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 8000
CONCURRENCY = 2
"""Tasks that a host's queue worker does at a time."""

_PREFIX = f"wa{os.getpid() % 10000}"
_NETWORK = f"10.77.{os.getpid() % 256}"
_BRIDGE = "bridge"


def missing() -> str | None:
    """Why there can be no such hosts here, if so."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"{_PREFIX}p"
    if _ip("netns", "add", name, check=False) != 0:
        return "this machine lets nobody make network namespaces"
    bridge = _ip("-n", name, "link", "add", _BRIDGE, "type", "bridge", check=False)
    _ip("netns", "del", name)
    return "this machine has no network bridges" if bridge else None


def _ip(*words: str, check: bool = True) -> int:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"ip {' '.join(words)}: {done.stderr}"
    return done.returncode


class Host:
    """One host. Lives in a `with` block.

    Args:
        number: From 2.
    """

    def __init__(self, number: int) -> None:
        self.name = f"{_PREFIX}h{number}"
        self.address = f"{_NETWORK}.{number}"
        self.servers: dict[str, Server] = {}

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        _ip("netns", "del", self.name)

    def start(self, kind: str, *command: str, **environment: str) -> Server:
        """Start a program on it."""
        words = ("netns", "exec", self.name, *command)
        server = Server(*words, program="ip", HOST_NAME=self.name, **environment)
        self.servers[kind] = server
        return server

    def stop(self, kind: str) -> None:
        """Have a program end in good order."""
        server = self.servers.pop(kind)
        with server:
            server.signal(signal.SIGTERM)
            server.wait(CELERY_LIMIT)

    def kill(self) -> None:
        """All that runs on it ends at once."""
        while self.servers:
            server = self.servers.popitem()[1]
            server.kill()  # at once, also while coverage is measured
            server.__exit__(None, None, None)


class DataHost(Host):
    """The host with the data, which connects the others."""

    def __enter__(self) -> Self:
        super().__enter__()
        _ip("-n", self.name, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", _BRIDGE)
        _ip("-n", self.name, "link", "set", _BRIDGE, "up")
        _ip(*self._cable("outside"), "name", f"{_PREFIX}o")
        _ip("addr", "add", f"{_NETWORK}.1/24", "dev", f"{_PREFIX}o")
        _ip("link", "set", f"{_PREFIX}o", "up")
        self._plug("outside")
        return self

    def connect(self, host: Host) -> None:
        """Put another host into the network."""
        _ip(*self._cable(host.name), "name", "eth0", "netns", host.name)
        _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.name, "link", "set", "eth0", "up")
        self._plug(host.name)

    def disconnect(self, host: Host) -> None:
        """Pull the plug: nobody hears of it any more."""
        _ip("-n", self.name, "link", "del", host.name)

    def _cable(self, name: str) -> tuple[str, ...]:
        return ("link", "add", name, "netns", self.name, "type", "veth", "peer")

    def _plug(self, name: str) -> None:
        _ip("-n", self.name, "link", "set", name, "master", _BRIDGE, "up")


class WebHost(Host):
    """A host with a gunicorn of two workers and a queue worker.

    Args:
        number: From 3.
        environment: Where the data is.
    """

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        super().__init__(number)
        self._environment = environment

    def begin(self) -> None:
        """Have it serve, and start its queue worker."""
        self._work()
        self._serve()

    def _serve(self) -> None:
        worker = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
        server = self.start(
            "web",
            *(sys.executable, "-m", "gunicorn", "--bind", f"{self.address}:{PORT}"),
            *("--workers", "2", "--threads", "8", "--worker-class", worker),
            *("--no-control-socket", "tests.deploy.app:app"),
            **self._environment,
        ).ready("Listening at", port=PORT)
        server.wait_for("Booting worker", count=2)

    def _work(self) -> None:
        quiet = ("--without-gossip", "--without-mingle", "-l", "info", "-n", f"{self.name}@%h")
        self.start(
            "queue",
            *(sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.deploy.app:celery"),
            *("worker", "-c", str(CONCURRENCY), "-Q", "notes", *quiet),
            **self._environment,
        )

    def wait_for_worker(self) -> None:
        """Until the queue worker is ready."""
        self.servers["queue"].ready(r"@\S+ ready", port=0)


@contextlib.contextmanager
def nginx(config: str, folder: Path) -> Iterator[None]:
    """An nginx with this configuration, ready."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    path = folder / "nginx.conf"
    path.write_text(config)
    options = f"daemon off; pid {folder / 'nginx.pid'}; error_log stderr notice;"
    server = Server("-c", str(path), "-p", str(folder), "-g", options, program=program)
    with server:
        server.wait_for("start worker process")
        yield
