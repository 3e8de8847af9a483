"""A real RabbitMQ, in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from tests.servers.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Where Debian's is. Not the command on PATH, which changes the user."""

GRACE = 60.0
"""Seconds that it gets to start."""


@contextlib.contextmanager
def rabbitmq_server(folder: Path) -> Iterator[int]:
    """A RabbitMQ with its files in a folder; gives its port."""
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(folder),  # Erlang's cookie
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "ERL_EPMD_PORT": str(free_port()),
        # Erlang's port mapper ends when it is told, also if it still knows of the killed server.
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
    }
    with (folder / "output").open("w") as output:
        server = subprocess.Popen(
            [RABBITMQ],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_for_port(port, server)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, 9)
            server.wait()
            # Erlang's port mapper goes on otherwise.
            subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None, "the broker did not start"
            assert time.monotonic() < deadline, "the broker did not start in time"
            time.sleep(0.02)
        else:
            return
