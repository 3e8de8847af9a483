"""The command line: `python -m wsgi_async COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import sys

__all__ = ["main"]

_COMMANDS = {
    "doctor": ("wsgi_async.doctor.command", "check an app, its settings and its server's settings"),
    "inspect": ("wsgi_async.inspector.command", "show what the event loops of a process are doing"),
}
"""For each command, its module, which has a `main()` function, and what the command does.

A module is imported only when its command is called.
"""


def main(arguments: list[str]) -> int:
    """Call a command.

    Args:
        arguments: The command and its own arguments.

    Returns:
        The exit status.
    """
    if arguments and arguments[0] in _COMMANDS:
        module = importlib.import_module(_COMMANDS[arguments[0]][0])
        return int(module.main(arguments[1:]))
    _parser().parse_args(arguments or ["--help"])  # exits
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m wsgi_async",
        description="Tools for apps that use wsgi_async. `COMMAND --help` describes each.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, purpose) in _COMMANDS.items():
        commands.add_parser(name, help=purpose)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
