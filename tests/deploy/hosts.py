"""Hosts with a network of their own: network namespaces of this machine, each with a gunicorn."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.servers.process import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 8000


def missing() -> str | None:
    """Why there can be no such hosts here, if so."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"probe{os.getpid()}"
    if _ip("netns", "add", name, check=False) != 0:
        return "this machine lets nobody make network namespaces"
    _ip("netns", "del", name)
    return None


def _ip(*words: str, check: bool = True) -> int:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"ip {' '.join(words)}: {done.stderr}"
    return done.returncode


class Host:
    """One host. Lives in a `with` block.

    Args:
        number: From 1.
    """

    def __init__(self, number: int) -> None:
        self.name = f"wa{os.getpid() % 10000}h{number}"
        self._network = f"10.77.{number}"
        self.address = f"{self._network}.2"
        self.server: Server | None = None

    def __enter__(self) -> Host:
        name, outside, inside = self.name, f"{self.name}o", f"{self.name}i"
        _ip("netns", "add", name)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("addr", "add", f"{self._network}.1/24", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", name, "addr", "add", f"{self.address}/24", "dev", inside)
        _ip("-n", name, "link", "set", inside, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        _ip("netns", "del", self.name)

    def start(self) -> None:
        """Have it serve, with two workers."""
        worker = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
        self.server = Server(
            *("netns", "exec", self.name, sys.executable, "-m", "gunicorn"),
            *("--bind", f"{self.address}:{PORT}", "--workers", "2", "--threads", "8"),
            *("--worker-class", worker, "--no-control-socket", "tests.deploy.app:app"),
            program="ip",
            HOST_NAME=self.name,
        ).ready("Listening at", port=PORT)
        self.server.wait_for("Booting worker", count=2)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to gunicorn's master."""
        assert self.server is not None
        self.server.signal(number)

    def kill(self) -> None:
        """All that runs on it ends at once."""
        if self.server is not None:
            self.server.__exit__(None, None, None)
            self.server = None


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
