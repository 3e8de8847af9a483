"""An example of `examples/queues`, started by the command in its docstring."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.examples.commands import command
from tests.servers.process import LIMIT, Server, child_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

# Newer Pythons deprecate what some of these libraries do; our own warnings show in the log.
QUIET = "ignore::DeprecationWarning"


@dataclass(frozen=True)
class Example:
    """One file.

    Args:
        file: Where it is.
    """

    file: Path

    def worker(self, *options: str, without: Sequence[str] = (), **environment: str) -> Server:
        """What the last command of the docstring starts, found in the folder of the example."""
        program, *arguments = [word for word in command(self.file) if word not in without]
        path = ["--path", str(self.file.parent)] if program != "python" else []
        if program == "python":
            arguments = [str(self.file)]
        else:
            arguments = [str(Path(sys.executable).with_name(program)), *arguments]
        return Server(*arguments, *options, *path, PYTHONWARNINGS=QUIET, **environment)

    def send(self, *numbers: int, **environment: str) -> None:
        """Have the example put work into the queue, as its docstring says."""
        subprocess.run(
            [sys.executable, str(self.file), *map(str, numbers)],
            env=child_environment(**environment),
            check=True,
            timeout=LIMIT,
        )


def lines(worker: Server) -> list[str]:
    """What the example's functions have written, without the lines of the library's log.

    `print()` writes the end of its line by itself, and another process's log may come before it.
    """
    written = re.split(r"\n|(?=\[\d{4}-\d\d-)", worker.log)
    return [line for line in written if "the client" in line or line in SAID]


SAID = ("client opened", "client closed")
