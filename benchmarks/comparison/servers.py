"""One app on one server, in one process on chosen cores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import environment
from benchmarks.comparison.apps.settings import Settings
from benchmarks.comparison.contenders import Contender
from benchmarks.redis_server import free_port
from benchmarks.server import GRACE, RESIDENT, THREADS, get

ROOT = Path(__file__).parents[2]

START = 60
"""Seconds that a server gets to start: all of a view start at the same time."""

GUNICORN = {"gthread": "gthread", "resident": RESIDENT, "gevent": "gevent"}
"""Server: gunicorn's name for its workers."""


@dataclass(frozen=True)
class Interpreter:
    """What runs a server.

    Args:
        path: the executable.
        own: whether it is this process's, with the same modules in sight.
    """

    path: str = sys.executable
    own: bool = True

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        found = environment()
        if not self.own:  # another version has packages of its own
            found |= {"PYTHONPATH": str(ROOT), "PYTHON_GIL": "0"}
        return found


class Server:
    """A server process. Lives in a `with` block, and may be waited for later.

    Args:
        contender: what it serves.
        settings: where the services are that the views call.
        cores: those that it may use.
        interpreter: what runs it.
    """

    def __init__(
        self,
        contender: Contender,
        settings: Settings,
        cores: Sequence[int],
        interpreter: Interpreter,
    ) -> None:
        self.port = free_port()
        told = settings._replace(way=contender.way, uvloop=contender.uvloop)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at the end of the block
        with pinned(cores):
            self._process = subprocess.Popen(
                [interpreter.path, "-P", "-m", *command(contender, self.port)],
                env={**interpreter.environment(), **told.environment()},
                stdout=self._log,
                stderr=self._log,
            )
        self.process = self._process.pid

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: It did not start; the error holds what it wrote.
        """
        deadline = time.monotonic() + START
        while True:
            try:
                get(self.port, "/noop")
                return
            except (OSError, RuntimeError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._log.seek(0)
                    said = self._log.read()[-2000:]
                    raise RuntimeError(f"The server did not start: {said}") from error
                time.sleep(0.05)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def command(contender: Contender, port: int) -> list[str]:
    """Return the arguments of `python -m` that serve a contender."""
    app = f"benchmarks.comparison.apps.{contender.framework}_app:application"
    address = ["--host", "127.0.0.1", "--port", str(port)]
    if contender.server == "uvicorn":
        quiet = ["--log-level", "warning", "--no-access-log"]
        return ["uvicorn", app, *address, *quiet, "--loop", "uvloop", "--backlog", "1024"]
    if contender.server == "granian":
        quiet = ["--log-level", "warning", "--no-ws"]
        threads = ["--workers", "1", "--blocking-threads", str(THREADS)]
        return ["granian", "--interface", "wsgi", *address, *threads, *quiet, app]
    config = ["--config", "python:benchmarks.gunicorn_conf", "--bind", f"127.0.0.1:{port}"]
    threads = ["--workers", "1", "--threads", str(THREADS)]
    return ["gunicorn", app, *config, *threads, "--worker-class", GUNICORN[contender.server]]


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Let processes that are started meanwhile use some cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def share(count: int) -> tuple[list[int], list[int]]:
    """Return the cores of a server that gets so many, and those of all others."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[:count], cores[count:] or cores
