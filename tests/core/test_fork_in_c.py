"""Forks that Python is not told of: servers that embed it, uWSGI for one, fork in C."""

from __future__ import annotations

import os

import pytest

from tests.servers.process import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Nothing is started before the fork: threads that run at that moment could leave CPython's own
# locks held in the child, which nobody can mend from Python.
FORK = """
import ctypes, os, signal
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager

async def process():
    return os.getpid()

of_parent = get_or_create_loop_manager("one")
child = ctypes.PyDLL(None).fork()
if child == 0:
    signal.alarm(20)
    {first_use}
    assert own is not of_parent
    own.start()
    assert own.run(process()) == os.getpid()
    try:
        of_parent.start()
    except RuntimeError as error:
        assert "belongs to the parent process" in str(error), error
        assert AsyncioLoopManager.all_instances() == [own]
        own.stop()
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
of_parent.start()
assert of_parent.run(process()) == os.getpid()
of_parent.stop()
print("done")
"""


@pytest.mark.parametrize(
    "first_use",
    ['own = get_or_create_loop_manager("one")', "own = AsyncioLoopManager('one')"],
)
def test_a_child_that_was_forked_in_c_has_none_of_the_parents_managers(first_use: str) -> None:
    """The first manager that a child makes, in either way, ends what it has inherited."""
    assert run_script(FORK.format(first_use=first_use)) == "done\n"
