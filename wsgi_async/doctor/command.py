"""The command `doctor`: its arguments, and how it prints its findings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from wsgi_async.core import AsyncioLoopManager

from . import configuration
from .clients import check_clients
from .findings import Finding, Server, Subject, exit_status
from .frameworks import check_django, check_flask, import_urls
from .libraries import check_libraries
from .loading import load, not_loaded, python_path_has_here
from .servers import check_managers, check_server
from .wrapping import check_wrapping, middlewares_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Report", "examine", "main"]

_CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (
    check_wrapping,
    check_server,
    check_managers,
    check_clients,
    check_flask,
    check_django,
    lambda _: check_libraries(),
)
_ORDER = ("error", "warning", "note")
_COLORS = {"error": "31", "warning": "33", "note": "36"}
_WIDTH = 79
_LABEL = 9
"""The width of the column with the severity."""


def main(arguments: list[str]) -> int:
    """Examine an app and print the findings.

    Args:
        arguments: The command's own arguments.

    Returns:
        The exit status: 1 with an error or a warning, 2 if the app cannot be imported.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    # Output of the app while it is imported must not get into the report.
    with contextlib.redirect_stdout(sys.stderr):
        python_path_has_here()
        managers = _running()
        server, findings = _server(parser, options.config)
        started = _running() - managers
        name = options.app or (server.app if server else "")
        if not name:
            parser.error("no app: name it as `module:app`")
        report = examine(name, server, started)
    findings += report.findings
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    _print(findings, name, as_json=options.json)
    return exit_status(findings) if report.imported else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m wsgi_async doctor",
        description="Import a WSGI app, and say what in it, in its settings and in gunicorn's "
        "settings will go wrong with wsgi_async. No server is started.",
        epilog="The exit status is 0 without errors and warnings, 1 with any, and 2 if the app "
        "cannot be imported.",
    )
    parser.add_argument(
        "app",
        nargs="?",
        metavar="module:app",
        help="the app, or `module:factory()`; by default what gunicorn's settings name",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="gunicorn's configuration; by default ./gunicorn.conf.py and GUNICORN_CMD_ARGS",
    )
    parser.add_argument("--json", action="store_true", help="print a list of findings as JSON")
    return parser


def _server(
    parser: argparse.ArgumentParser, config: str | None
) -> tuple[Server | None, list[Finding]]:
    """gunicorn's settings, if there are any."""
    if config is None and not configuration.is_configured():
        return None, []
    if configuration.gunicorn_missing():
        if config is not None:
            parser.error("--config needs gunicorn, which is not installed")
        return None, [configuration.not_read()]
    try:
        return configuration.read(config), []
    except configuration.UnreadableError as error:
        parser.error(str(error))


def _running() -> set[AsyncioLoopManager]:
    return {manager for manager in AsyncioLoopManager.all_instances() if manager.running}


class Report(NamedTuple):
    """The findings, and whether the app could be imported."""

    findings: list[Finding]
    imported: bool


def examine(
    name: str, server: Server | None = None, started: Iterable[AsyncioLoopManager] = ()
) -> Report:
    """Import an app and run all checks.

    Args:
        name: The app, as `load()` takes it.
        server: The settings of its server; None if they are not known.
        started: The managers that were started while the settings were read.
    """
    before = _running()
    try:
        module, app = load(name)
        parts = parts_of(app)
        import_urls(parts)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Report([not_loaded(name, error), *check_libraries()], imported=False)
    subject = Subject(
        name=name,
        module=module,
        app=app,
        parts=parts,
        middlewares=middlewares_of(parts),
        server=server,
        started_by_config=list(started),
        started_by_app=list(_running() - before),
    )
    return Report([finding for check in _CHECKS for finding in check(subject)], imported=True)


# -- printing --------------------------------------------------------------------------------------


def _print(findings: list[Finding], name: str, *, as_json: bool) -> None:
    if as_json:
        text = json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2)
    else:
        columns = min(shutil.get_terminal_size((_WIDTH + 1, 24)).columns - 1, _WIDTH)
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        blocks = [_block(finding, columns, color=color) for finding in findings]
        text = "\n\n".join([*blocks, f"{name}: {_count(findings)}"])
    sys.stdout.write(f"{text}\n")


def _block(finding: Finding, columns: int, *, color: bool) -> str:
    """A finding as a paragraph, with its severity in the margin."""
    state = finding.state if finding.where is None else f"{finding.where}: {finding.state}"
    lines = _wrapped(state, columns) + _wrapped(finding.remedy, columns)
    lines += _wrapped(f"{finding.page} [{finding.code}]", columns)
    label = finding.severity.ljust(_LABEL)
    if color:
        label = f"\033[{_COLORS[finding.severity]}m{label}\033[0m"
    return f"\n{' ' * _LABEL}".join([label + lines[0], *lines[1:]])


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(
        text, max(columns - _LABEL, 20), break_long_words=False, break_on_hyphens=False
    )


def _count(findings: list[Finding]) -> str:
    counts = [(kind, sum(each.severity == kind for each in findings)) for kind in _ORDER]
    words = [f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts if count]
    return ", ".join(words) or "no problems found"
