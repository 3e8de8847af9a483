"""Runs pytest in a thread of a `LoopThreadPoolExecutor`, on which the loop lives.

`.ci/upstream --resident` runs other projects' tests by it, and `.ci/upstream-django` its own way.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from wsgi_async import LoopThreadPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def on_resident_thread(fn: Callable[[], T]) -> T:
    """Call a function in a thread that a loop lives on; return or raise what it does."""
    with LoopThreadPoolExecutor(1, "resident") as pool:
        return pool.submit(fn).result()


if __name__ == "__main__":
    import pytest

    # pytest sees that it comes too late to rewrite what is imported here.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    sys.exit(on_resident_thread(lambda: pytest.main([*quiet, *sys.argv[1:]])))
