"""Server processes for the tests: start one, read what it says, signal it, and never leave it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gunicorn.config import make_settings

import wsgi_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LIMIT = 30.0
"""Seconds after which whatever a test waits for has failed; no test waits for it to pass."""

CELERY_LIMIT = 60.0
"""Seconds for the end of a Celery worker. After a SIGTERM under load the processes of a prefork
pool may wait 30 s for the main process, which no longer reads their results (sync tasks too)."""

LOOP_THREAD_WORKER = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
"""What gunicorn's option --worker-class takes for ours."""

THREADED = {"gthread": "gthread", "LoopThreadWorker": LOOP_THREAD_WORKER}
"""gunicorn's threaded workers: its own, and ours."""

# On free-threaded Python 3.13, `linecache` may raise when two threads read a stack at the same time
# (python/cpython#133253). asyncio's debug mode reads a stack for each handle.
_READS_STACKS_SAFELY = sys.version_info >= (3, 14) or not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)
_MODE = ("-X", "dev") if _READS_STACKS_SAFELY else ("-X", "faulthandler", "-W", "default")

# The children import the package that the tests run against, and the tests' applications.
_PATH = [str(Path(wsgi_async.__file__).parents[1]), str(Path(__file__).parents[2])]


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a child process that imports `wsgi_async` and the test applications."""
    path = os.pathsep.join(filter(None, [*_PATH, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def run_script(code: str, *, silent: bool = True) -> str:
    """Run Python code in a process of its own; what it printed.

    Fails if the process fails or outlives the limit, and, as warnings and tracebacks go there, if
    it writes anything to stderr while it should be silent. asyncio's debug mode may tell of slow
    steps, for which a busy machine is enough.
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=child_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert not (silent and said), done.stdout + done.stderr
    return done.stdout


def wait_until(condition: Callable[[], bool], *, what: str, limit: float = LIMIT) -> None:
    """Look at a condition that nothing announces until it holds."""
    tick = threading.Event()
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit} seconds: {what}"
        tick.wait(0.01)


class Server:
    """A server process and what it writes. Lives in a `with` block, and is killed at its end.

    Args:
        args: The arguments for Python, from `-m` on.
        program: What to run with these arguments instead of Python.
        environment: Environment variables besides our own.
    """

    def __init__(self, *args: str, program: str | None = None, **environment: str) -> None:
        self.port = 0
        # Guarded by the condition's lock, as is reading itself:
        self._lines: list[str] = []
        self._rest = b""  # of a line
        self._ended = False
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [*((program,) if program else (sys.executable, *_MODE)), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=child_environment(**environment),
            start_new_session=True,  # so that its workers can be killed with it
        )
        self._reader = threading.Thread(target=self._read, name="server-log")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if "COVERAGE_PROCESS_CONFIG" in os.environ:  # who is killed cannot tell what it has run
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(5.0)
        self.kill()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if error is not None:
            error.add_note(f"The server wrote:\n{self.log}")

    def _read(self) -> None:
        """In a thread of its own: nobody may ask for it, and the server must be able to write."""
        while not self._ended:
            self._readable(None)
            with self._news:
                self._catch_up()

    def _catch_up(self) -> None:
        """Read what is there. Whoever looks does: the thread may not have come to it yet."""
        while not self._ended and self._readable(0):
            part = os.read(self._output, 1 << 16)
            *lines, self._rest = (self._rest + part).split(b"\n")
            if not part:
                self._ended = True
                lines = [self._rest] if self._rest else []
            self._lines += [line.decode(errors="replace") for line in lines]
            self._news.notify_all()

    def _readable(self, timeout: int | None) -> bool:
        look = select.poll()  # one of its own, as no two threads may use one
        look.register(self._output, select.POLLIN)
        return bool(look.poll(timeout))

    @property
    def _output(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        with self._news:
            self._catch_up()
            return "\n".join(self._lines)

    def find(self, pattern: str) -> list[re.Match[str]]:
        """All lines so far in which the pattern occurs."""
        with self._news:
            self._catch_up()
            return [found for line in self._lines if (found := re.search(pattern, line))]

    def wait_for(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """Wait until the pattern has occurred in so many lines; the last of those."""
        with self._news:
            self._news.wait_for(lambda: len(self.find(pattern)) >= count or self._ended, LIMIT)
            found = self.find(pattern)
        assert len(found) >= count, f"the server did not write {pattern!r} {count} times"
        return found[count - 1]

    def ready(self, pattern: str, *, port: int | None = None) -> Server:
        """Wait for the line that tells the port, which is the pattern's first group if not given.

        A server that never writes it is killed.
        """
        try:
            found = self.wait_for(pattern)
            self.port = int(found[1]) if port is None else port
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal, to one of its workers if a pid is given.

        After a SIGSTOP all threads of the process stand still, which takes a moment.
        """
        pid = pid or self._process.pid
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            wait_until(lambda: stands_still(pid), what=f"{pid} stands still")

    def kill(self) -> None:
        """Kill all its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, limit: float = LIMIT) -> int:
        """Wait for its end and for the last line; the exit status."""
        status = self._process.wait(limit)
        self._reader.join(LIMIT)
        return status

    def request(self, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        """Get a path over a new connection; the response and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response, response.read()

    def get(self, path: str) -> Any:
        """Get a path that answers 200 and JSON; the JSON."""
        response, body = self.request(path)
        assert response.status == 200, body
        return json.loads(body)

    def send(self, path: str) -> http.client.HTTPConnection:
        """Send a request and leave its response to come; close the connection in the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        connection.request("GET", path)
        return connection


def free_port() -> int:
    """For servers that do not tell which port they have got for a 0."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped; they are, too, if it has been killed."""
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def complaints(server: Server) -> list[re.Match[str]]:
    """The lines of the log that tell of an error, or of a loop's leftovers."""
    # Not of every ResourceWarning: gunicorn leaves sockets of its own open.
    return server.find(
        "Traceback|RuntimeWarning|unclosed (event loop|transport)|was destroyed"
        "|Exception ignored|did not end|did not stop"
    )


def assert_clean(server: Server, *, before: int = 0) -> None:
    """Fail if the log has complaints.

    Args:
        server: Whose log it is.
        before: How many there have been already, where several tests share a server.
    """
    found = complaints(server)[before:]
    assert not found, f"{found}; the server wrote:\n{server.log}"


class Caller:
    """Where a coroutine in the server calls the test back. Lives in a `with` block.

    What is sent through it goes past the server's requests, so it shows that the coroutine runs
    while no request does.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self._connection: socket.socket | None = None

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    def accept(self) -> None:
        """Wait for the coroutine's call."""
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(LIMIT)

    def say(self, line: str) -> None:
        """Send the coroutine a line."""
        assert self._connection is not None
        self._connection.sendall(line.encode() + b"\n")

    def hang_up(self) -> None:
        """Close the connection; the coroutine reads to its end."""
        assert self._connection is not None
        self._connection.close()

    def hear(self) -> str:
        """Wait for the coroutine's next line."""
        assert self._connection is not None
        with self._connection.makefile() as lines:
            return lines.readline().rstrip("\n")


# Newer ones open a socket in the home directory, where two servers would meet.
CONTROL_SOCKET = ("--no-control-socket",) if "control_socket" in make_settings() else ()
"""gunicorn's options to be alone."""

LISTENING = r"Listening at: http://127\.0\.0\.1:(\d+)"
"""What gunicorn writes when it is ready."""


def gunicorn(app: str, *options: str, worker_class: str = "gthread", **environment: str) -> Server:
    """A gunicorn that serves `module:application` with one threaded worker, and is ready."""
    return Server(
        *("-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", worker_class),
        *(*CONTROL_SOCKET, *options, app),
        **environment,
    ).ready(LISTENING)


def polls(watched: Path) -> tuple[str, ...]:
    """gunicorn's options to start its workers anew when a file has changed."""
    return ("--reload", "--reload-engine", "poll", "--reload-extra-file", str(watched))


def change_until(server: Server, watched: Path, pattern: str) -> None:
    """Change a file that the server watches, until the server has written a line."""
    later = itertools.count(10, 10)

    def written() -> bool:
        # More than once: gunicorn may not have had its first look at the file yet.
        os.utime(watched, (time.time() + next(later),) * 2)
        return bool(server.find(pattern))

    wait_until(written, what=f"the server writes {pattern!r}")
