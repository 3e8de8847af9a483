"""The processes of the cluster: started one after the other, stopped in the opposite order."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 15.0
"""Longer than gunicorn's graceful timeout."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedError(Exception):
    """A process of the cluster has ended by itself, or does not start."""


@dataclass(frozen=True, slots=True)
class _Process:
    """One program; lives until it is stopped."""

    name: str
    popen: "subprocess.Popen[Any]"
    stop_by: signal.Signals
    log: Path | None

    def tail(self) -> str:
        """The end of its log, where it does not write on the terminal."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log else []
        return "".join(f"\n  {line}" for line in lines[-5:])

    def stop(self) -> None:
        """Ask it to end, wait, and kill what is still there of it."""
        self.popen.send_signal(self.stop_by)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Processes:
    """All processes of one cluster, and a folder for their files.

    Lives in a `with` block of the main thread. At its end, which a signal brings about too, all of
    them are stopped, and the folder is gone.
    """

    def __init__(self) -> None:
        self._all: list[_Process] = []
        self._starting = False
        self._asked_to_end = False

    def __enter__(self) -> "Processes":
        for number in _SIGNALS:
            signal.signal(number, self._end)
        self._folder = tempfile.TemporaryDirectory(prefix="board-cluster-")
        self.folder.chmod(0o711)  # PostgreSQL and nginx may have users of their own
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C would leave some of them running.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._all):
            process.stop()
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """The folder for their files."""
        return Path(self._folder.name)

    def _end(self, *_: object) -> None:
        self._asked_to_end = True
        if not self._starting:  # else the process that is being started would be left behind
            raise SystemExit(0)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        ready: Callable[[], bool],
        stop_by: signal.Signals = signal.SIGTERM,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a program and wait until it is ready.

        Args:
            name: what an error calls it.
            command: the program and its arguments.
            ready: whether it is ready, asked again and again.
            stop_by: the signal that ends it in good order.
            log: a file for what it writes; on the terminal if not given.
            environment: variables besides those of this process.
            user: whose process it is, as `subprocess.Popen` takes it.

        Raises:
            EndedError: it has ended, or is not ready in time.
        """
        options = {"env": {**os.environ, **(environment or {})}, **(user or {})}
        self._starting = True
        try:
            popen = _popen(command, log, options)
            self._all.append(_Process(name, popen, stop_by, log))
        finally:
            self._starting = False
        if self._asked_to_end:
            raise SystemExit(0)
        self._wait_until(ready, self._all[-1])

    def watch(self) -> None:
        """Wait until a process ends.

        Raises:
            EndedError: it has ended.
        """
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        for process in self._all:
            if ended is not None and process.popen.pid == ended.si_pid:
                raise EndedError(f"{process.name} has ended{process.tail()}")

    def _wait_until(self, ready: Callable[[], bool], process: _Process) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.popen.poll() is not None or time.monotonic() > deadline:
                raise EndedError(f"{process.name} does not start{process.tail()}")
            time.sleep(0.05)


def _popen(
    command: Sequence[str | Path], log: Path | None, options: Mapping[str, Any]
) -> "subprocess.Popen[Any]":
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        return subprocess.Popen(  # noqa: S603 - programs that we have found
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # The terminal's Ctrl-C is for this process, which stops the others in their order.
            start_new_session=True,
            **options,
        )


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
