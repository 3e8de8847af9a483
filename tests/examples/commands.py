"""The examples, each in a folder of its own, started by the command in its docstring."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from pathlib import Path

from tests.servers.process import Server, gunicorn


def command(file: Path) -> list[str]:
    """The last command of the docstring, which runs the example."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return shlex.split(re.findall(r"^    (\S.*)$", docstring, re.MULTILINE)[-1])


def alone(checkout: Path, name: str, folder: Path) -> Path:
    """A copy in another folder, where none of the other examples is."""
    return Path(shutil.copy(checkout / "examples" / f"{name}.py", folder / f"{name}.py"))


def served(file: Path, **environment: str) -> Server:
    """The example under gunicorn, with the options that its docstring names."""
    program, *options, app = command(file)
    assert program == "gunicorn"
    return gunicorn(app, *options, "--chdir", str(file.parent), **environment)


def started(file: Path) -> Server:
    """The example as a script."""
    assert command(file) == ["python", file.name]
    return Server("-W", "error", str(file))
