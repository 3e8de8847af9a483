"""CPython's own tests for `concurrent.futures.Future`, run with `SyncFuture` in its place."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import unittest

import pytest

from tests.core.support import run_process
from wsgi_async import SyncFuture


def is_there(name: str) -> bool:
    """Whether a module can be imported; many distributions leave these out."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


# A module of a package, where pools have modules of their own; in older versions one for all.
MODULES = ["test.test_concurrent_futures.test_future", "test.test_concurrent_futures"]
MODULE = next(filter(is_there, MODULES), "")

LEFT_OUT = {
    "test_exception_with_success": "fills the future by its private attributes, and tells nobody",
}


def child() -> None:
    """Run them; print how many there were, and what was left out."""
    base = importlib.import_module("concurrent.futures._base")
    base.Future = type("Future", (SyncFuture,), {})  # type: ignore[attr-defined]
    sleep = time.sleep
    # They let a thread come first by a second.
    time.sleep = lambda seconds: sleep(float(seconds) / 20)
    tests = importlib.import_module(MODULE)
    assert tests.Future is base.Future
    names = unittest.defaultTestLoader.getTestCaseNames(tests.FutureTests)
    left_out = [name for name in names if name in LEFT_OUT]
    suite = unittest.TestSuite(tests.FutureTests(name) for name in names if name not in LEFT_OUT)
    result = unittest.TextTestRunner(sys.stdout, verbosity=0).run(suite)
    assert result.wasSuccessful()
    print(result.testsRun, len(result.skipped), left_out)


@pytest.mark.skipif(not MODULE, reason="this Python comes without its own tests")
def test_they_pass() -> None:
    """Whoever takes a `SyncFuture` for the future that it is finds nothing that is different."""
    out, err, status = run_process(child)
    assert status == 0, out + err
    count, skipped, left_out = out.splitlines()[-1].split(maxsplit=2)
    assert int(count) >= 15
    assert skipped == "0"
    assert left_out == str(list(LEFT_OUT))
