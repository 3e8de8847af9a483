"""Run the cluster until Ctrl-C: `python -m example_app.cluster`."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from example_app.cluster import programs, services
from example_app.cluster.processes import EndedError, Processes, free_ports, listens
from example_app.settings import Settings, SettingsError

BOARDS = 2
_CHECKOUT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Start all, and wait for a signal or for the end of one of them."""
    try:
        settings = Settings.from_environ(os.environ)
        settings = replace(settings, port=settings.port or free_ports(1)[0], url=None)
        found = programs.find()
        with Processes() as processes:
            _start(processes, found, settings)
            ready = f"The cluster is ready at {settings.base_url} (Ctrl-C stops it)"
            print(ready, flush=True)  # noqa: T201 - the answer to the command
            processes.watch()
    except (SettingsError, programs.MissingError, EndedError) as error:
        sys.exit(f"The cluster cannot run: {error}.")


def _start(processes: Processes, found: programs.Programs, settings: Settings) -> None:
    redis_port, *ports = free_ports(1 + BOARDS)
    environment = {
        "STATUS_BOARD_QUEUE": services.redis(processes, found, redis_port),
        "STATUS_BOARD_DB": services.postgres(processes, found),
        "STATUS_BOARD_URL": settings.base_url,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")])),
    }
    boards = [replace(settings, port=port) for port in ports]
    addresses = [board.base_url.removeprefix("http://") for board in boards]
    # Before the boards, and so stopped after them: their checks need both.
    services.nginx(processes, found, settings, addresses)
    _worker(processes, environment)
    for number, board in enumerate(boards, 1):
        _board(processes, number, board, environment)


def _board(
    processes: Processes, number: int, settings: Settings, environment: dict[str, str]
) -> None:
    config = _CHECKOUT / "example_app" / "gunicorn.conf.py"
    host, _, port = settings.base_url.removeprefix("http://").rpartition(":")
    processes.start(
        f"gunicorn {number}",
        [sys.executable, "-m", "gunicorn", "--config", config],
        ready=lambda: listens(host.strip("[]"), int(port)),
        environment={**environment, "PORT": port},
    )


def _worker(processes: Processes, environment: dict[str, str]) -> None:
    ready = processes.folder / "worker.pid"
    command = [sys.executable, "-m", "celery", "-A", "example_app.cluster.queue", "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "info"]
    processes.start(
        "The Celery worker",
        [*command, *quiet, "--concurrency", "2", "-Q", "checks", "--pidfile", ready],
        ready=ready.exists,
        environment=environment,
    )


if __name__ == "__main__":
    main()
