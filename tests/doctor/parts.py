"""Small apps in a folder, and what the doctor says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import wsgi_async
from wsgi_async.doctor.findings import Server, Subject
from wsgi_async.doctor.wrapping import middlewares_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async.doctor.findings import Finding

LIMIT = 40.0
"""Seconds after which a doctor that hangs is killed."""

WRAPPED = """
from wsgi_async import AsyncLoopMiddleware

def plain(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

app = AsyncLoopMiddleware(plain, timeout=30)
"""
"""An app of which the doctor has nothing to say."""


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def run_doctor(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command as a user calls it, in a folder of apps."""
    where = [str(Path(wsgi_async.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    known = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    return subprocess.run(
        [sys.executable, "-X", "dev", "-m", "wsgi_async", "doctor", *arguments],
        cwd=folder,
        env={**known, "PYTHONPATH": os.pathsep.join(filter(None, where)), **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


class Diagnosis(NamedTuple):
    """What the command has answered."""

    status: int
    findings: dict[str, dict[str, Any]]
    """The findings by their codes."""


def diagnose(folder: Path, *arguments: str, **environ: str) -> Diagnosis:
    """The command's answer; it has nothing to say on stderr."""
    done = run_doctor(folder, *arguments, "--json", **environ)
    assert done.stderr == ""
    return Diagnosis(done.returncode, {each["code"]: each for each in json.loads(done.stdout)})


def write(folder: Path, **files: str) -> Path:
    """Put modules into a folder."""
    for name, source in files.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def subject(app: Any, server: Server | None = None, **more: Any) -> Subject:
    """An app as the checks get it, in this process."""
    parts = parts_of(app)
    module = types.ModuleType("served")
    vars(module)["app"] = app
    return Subject(
        name="served:app",
        module=more.pop("module", module),
        app=app,
        parts=parts,
        middlewares=middlewares_of(parts),
        server=server,
        **more,
    )


def severities(findings: Iterable[Finding]) -> dict[str, str]:
    """The codes of findings, each with its severity."""
    return {finding.code: finding.severity for finding in findings}
