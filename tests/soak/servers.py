"""The servers that are soaked, and the upstream server that they call."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.config import make_settings

from tests.servers.process import LOOP_THREAD_WORKER, child_environment
from tests.soak import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

THREADS = 4
PATIENCE = 60.0

# Otherwise each thread has a heap of its own, and memory comes to rest only after long.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}

# What must not be in a server's log.
_SIGNS = (
    *("was destroyed", "never awaited", "unclosed event loop", "Exception ignored", "WORKER"),
    *("did not end", "did not stop", "loop is closed", "Fatal", "a context of another request"),
    *("different loop", "was lost", "database is locked", "Segmentation"),
)


class Process:
    """A child process that writes into a file. Lives in a `with` block, and is killed at its end.

    Args:
        arguments: What Python is started with.
        folder: Where the log is written.
        name: What it is called.
        listener: A socket that it inherits.
        environment: Environment variables besides our own.
    """

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        name: str,
        listener: socket.socket | None = None,
        **environment: str,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(**environment),
                pass_fds=() if listener is None else (listener.fileno(),),
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; None if it does not end in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def lines(self) -> Iterator[str]:
        with self.log.open(errors="replace") as lines:
            yield from lines


def listening() -> socket.socket:
    """A listening socket that a child process takes over."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


class SoakServer(Process):
    """A gunicorn that serves the soak's application.

    Args:
        name: What it is called.
        worker: The worker class.
        folder: For its files.
        upstream: The address of the server that the application calls.
        recycled: Its workers are replaced again and again, by itself and by signals.
    """

    def __init__(
        self, name: str, worker: str, folder: Path, upstream: str, *, recycled: bool
    ) -> None:
        self.worker = worker
        self.recycled = recycled
        self.blocks: list[int] = []  # of memory, in quiet moments
        self.begun = folder / f"{name}.begun"
        self._listener = listening()
        self.port: int = self._listener.getsockname()[1]
        alone = ["--no-control-socket"] if "control_socket" in make_settings() else []
        many = ["--workers=2", "--max-requests=400", "--max-requests-jitter=200"]
        super().__init__(
            [
                *("-m", "gunicorn", f"--bind=fd://{self._listener.fileno()}"),
                *(f"--worker-class={worker}", f"--threads={THREADS}", *alone),
                *(many if recycled else []),
                "tests.soak.app:app",
            ],
            folder,
            name,
            self._listener,
            SOAK_UPSTREAM=upstream,
            SOAK_FOLDER=str(folder),
            **ONE_HEAP,
            **({"SOAK_BEGUN": str(self.begun)} if recycled else {}),
        )

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._listener.close()

    def workers(self) -> list[int]:
        return watch.children_of(self.pid)

    def get(self, path: str) -> Any:
        """The value that a request is answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        said = list(self.lines())[-40:]
        assert response.status == 200, (self.name, path, response.status, body, said)
        return json.loads(body)["value"]

    def stats(self) -> dict[str, int]:
        found: dict[str, int] = self.get("/stats?token=stats")
        return found

    def settled(self, most: dict[str, int], seconds: float = 10.0) -> dict[str, int]:
        """Wait until there is no more of anything than that; what there is more in the end."""
        deadline = time.monotonic() + seconds
        while True:
            now = self.stats()
            self.blocks.append(now.pop("blocks", 0))
            more = {name: n for name, n in now.items() if n > most.get(name, 0)}
            if not more or time.monotonic() > deadline:
                return more
            time.sleep(0.2)

    def findings(self) -> list[str]:
        """Lines of the log that must not be there."""
        found = [line.strip() for line in self.lines() if any(sign in line for sign in _SIGNS)]
        return [f"{self.name} logged {line}" for line in found]


def both(folder: Path, upstream: str) -> list[SoakServer]:
    """A steady and a recycled server of each of the two worker classes."""
    classes = {"loop": LOOP_THREAD_WORKER, "gthread": "gthread"}
    return [
        SoakServer(f"{way}-{name}", worker, folder, upstream, recycled=way == "recycled")
        for way in ("steady", "recycled")
        for name, worker in classes.items()
    ]
