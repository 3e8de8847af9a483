"""The command `inspect`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .reading import Reply, folders, read_all, socket_files
from .remote import CannotAskError, ask_remotely
from .tree import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_WATCH = 2.0
"""Seconds between two snapshots."""

_REMOTE = 5.0
"""Seconds that the main thread of a process without a socket has to answer."""

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def main(arguments: Sequence[str]) -> int:
    """Show what the event loops of processes are doing.

    Args:
        arguments: The arguments after `inspect`.

    Returns:
        The exit status: 0 if each process has answered, otherwise 1.
    """
    options = _parser().parse_args(arguments)
    if bool(options.pid) == options.all:
        _parser().error("name a process, or use --all")
    try:
        return _watch(options) if options.watch else _show(options)
    except (CannotAskError, OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - it is a command
        return 1
    except KeyboardInterrupt:
        return 0 if options.watch else 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m wsgi_async inspect",
        description="Show managers, tasks, resources and lag of processes that use wsgi_async. "
        "A process that was started with WSGI_ASYNC_INSPECT=1 has a socket for this. From Python "
        "3.14 on it need not have one.",
    )
    parser.add_argument(
        "pid", type=_pid, nargs="*", metavar="PID", help="a process, or a server for its workers"
    )
    parser.add_argument("--all", action="store_true", help="all processes with a socket")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=_WATCH,
        metavar="SECONDS",
        help=f"look again every so often (default: every {_WATCH:g} s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, an array in one line")
    parser.add_argument("--folder", type=Path, help="where the sockets are")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_REMOTE,
        metavar="SECONDS",
        help="how long a process without a socket may take (default: %(default)g s)",
    )
    return parser


def _pid(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a process id")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("must be between 0.1 and 86,400 seconds")
    return seconds


def _watch(options: argparse.Namespace) -> int:
    while (status := _show(options)) == 0:
        time.sleep(options.watch)
    return status


def _show(options: argparse.Namespace) -> int:
    replies = _replies(options)
    if options.json:
        text = json.dumps([reply.plain() for reply in replies])
    else:
        text = tree(replies, encoding=sys.stdout.encoding or "ascii")
        if options.watch:
            text = f"{_CLEAR if sys.stdout.isatty() else ''}{time.ctime()}\n{text}\n"
    print(text, flush=True)  # noqa: T201 - it is a command
    return int(any(reply.snapshot is None for reply in replies))


def _replies(options: argparse.Namespace) -> list[Reply]:
    files = socket_files(folders(options.folder))
    if options.all:
        found = read_all(files)
        if not found:
            raise CannotAskError(
                "No process has a socket. Start them with WSGI_ASYNC_INSPECT=1; a socket is opened "
                "when the first manager starts."
            )
        return found
    return [reply for pid in options.pid for reply in _of(pid, files, options.timeout)]


def _of(pid: int, files: dict[int, Path], seconds: float) -> list[Reply]:
    """The answer of a process, or of the processes that it has started: a server's workers."""
    if pid in files:
        found = read_all({pid: files[pid]})
    else:
        found = [one for one in read_all(files) if one.snapshot and one.snapshot["parent"] == pid]
    return found or [ask_remotely(pid, seconds)]
