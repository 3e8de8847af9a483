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


UWSGI = """
import logging, os, sys, types
logging.basicConfig(format="%(message)s", stream=sys.stdout)
uwsgi = types.ModuleType("uwsgi")
uwsgi.worker_id, uwsgi.opt, uwsgi.numproc = lambda: {worker}, {options}, 2
uwsgi.masterpid = lambda: {master}
sys.modules["uwsgi"] = uwsgi
from wsgi_async import AsyncioLoopManager
for name in ("one", "two"):
    manager = AsyncioLoopManager(name)
    manager.start()
    manager.stop()
"""


@pytest.mark.parametrize("master", ["os.getpid()", "0"])
def test_a_manager_in_uwsgis_master(master: str) -> None:
    """The log says once what to set where workers are forked without Python's hooks."""
    (line,) = run_script(UWSGI.format(worker=0, options={}, master=master)).splitlines()
    assert "id='one' of thread 'MainThread' was started in uWSGI's master" in line
    assert "py-call-uwsgi-fork-hooks = true" in line


@pytest.mark.parametrize(
    ("worker", "options", "master"), [(1, {}, "1"), (0, {"lazy-apps": True}, "os.getpid()")]
)
def test_a_manager_where_uwsgi_forks_well(
    worker: int, options: dict[str, bool], master: str
) -> None:
    """In a worker, and where the options are as they should be, nothing is said."""
    assert run_script(UWSGI.format(worker=worker, options=options, master=master)) == ""
