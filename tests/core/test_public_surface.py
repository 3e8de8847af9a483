"""What the packages offer, and what importing them does."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
import wsgi_async.core
from tests.core.support import run_code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

CORE = {
    "AsyncioLoopManager",
    "CallerNotFound",
    "LoopNotFound",
    "LoopResource",
    "LoopThreadPoolExecutor",
    "ManagerNotFound",
    "ManagerStateError",
    "OutsideRequestError",
    "RunningLoopError",
    "SyncFuture",
    "TaskCancelledError",
    "UnknownAsyncTaskError",
    "WaitTimeoutError",
    "WsgiAsyncError",
    "async_to_sync",
    "async_to_sync_future",
    "current_manager",
    "get_or_create_loop_manager",
    "get_parent_thread",
    "loop_resource",
    "run",
    "run_in_calling_thread",
}
MIDDLEWARE = {"AsyncLoopMiddleware", "RequestScope", "loop_from", "scope_from"}


def _modules() -> Iterator[ModuleType]:
    """All that can be imported here: some need a newer Django, or Celery."""
    for found in pkgutil.walk_packages(wsgi_async.__path__, "wsgi_async."):
        try:
            module = importlib.import_module(found.name)
            for name in getattr(module, "__all__", ()):
                getattr(module, name)  # one of Django's is imported only then
            yield module
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(("django.tasks", "celery")):
                raise


MODULES = list(_modules())


def test_the_names_that_a_user_needs() -> None:
    """Both packages have the names of the contract, and no others."""
    assert set(wsgi_async.core.__all__) == CORE
    assert set(wsgi_async.__all__) == CORE | MIDDLEWARE


def test_both_packages_mean_the_same() -> None:
    """A name is the same object wherever it is imported from."""
    for name in CORE:
        assert getattr(wsgi_async, name) is getattr(wsgi_async.core, name)


@pytest.mark.parametrize("module", [wsgi_async, *MODULES], ids=lambda module: module.__name__)
def test_all_says_what_is_public(module: ModuleType) -> None:
    """`__all__` lists what exists, and everything public that the module itself defines.

    A package that is a room for modules defines nothing.
    """
    listed: list[str] = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    for name in listed:
        assert hasattr(module, name), name
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }
    assert defined - set(listed) == set()


def test_packages_hide_nothing() -> None:
    """What a package's namespace has besides `__all__` is a module of its own, or private."""
    for package in (wsgi_async, wsgi_async.core):
        others = {
            name
            for name, value in vars(package).items()
            if not name.startswith("_") and not inspect.ismodule(value)
        } - set(package.__all__)
        helpers = {name for name in others if getattr(package, name).__module__ != package.__name__}
        # The core's `__init__` calls two helpers at import; they belong to their modules.
        assert others == helpers
        assert others <= {"install_hooks", "wrap_thread_start"}


@pytest.mark.parametrize("name", sorted(CORE | MIDDLEWARE))
def test_everything_public_is_documented(name: str) -> None:
    """`help()` has something to say about each name, its public methods and their arguments."""
    thing = getattr(wsgi_async, name)
    assert inspect.getdoc(thing)
    for attribute, value in vars(thing).items() if inspect.isclass(thing) else []:
        if not attribute.startswith("_") and not inspect.ismemberdescriptor(value):
            assert inspect.getdoc(value), f"{name}.{attribute}"


def test_errors_have_a_common_base() -> None:
    """The library's own errors can be caught as one, and each as the nearest builtin."""
    errors = {name: getattr(wsgi_async, name) for name in CORE if name[0].isupper()}
    errors = {name: each for name, each in errors.items() if issubclass(each, BaseException)}
    assert len(errors) >= 9
    for name, each in errors.items():
        assert issubclass(each, wsgi_async.WsgiAsyncError), name
        assert issubclass(each, Exception), name
    assert issubclass(wsgi_async.TaskCancelledError, asyncio.CancelledError)
    assert issubclass(wsgi_async.ManagerStateError, RuntimeError)
    assert issubclass(wsgi_async.RunningLoopError, RuntimeError)
    assert issubclass(wsgi_async.WaitTimeoutError, TimeoutError)
    assert issubclass(wsgi_async.ManagerNotFound, LookupError)
    assert issubclass(wsgi_async.UnknownAsyncTaskError, ValueError)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("start", "(self, task_type=None)"),
        (
            "run",
            "(self, coro, *, timeout=None, task_type=None, context=None, copy_back=True)",
        ),
        ("submit_task", "(self, coro, return_sync_future=False, task_type=None)"),
        ("get_event_loop", "(self)"),
        ("stop", "(self, timeout=10.0)"),
        ("all_instances", "()"),
        ("registry", "()"),
        (
            "__init__",
            (
                "(self, id=None, *, creator_thread=None, loop_factory=None, debug=None, grace=5.0, "
                "on_start=None, on_stop=None)"
            ),
        ),
    ],
)
def test_the_managers_signatures(name: str, parameters: str) -> None:
    """Each method takes what the contract says, by the same names, with the same defaults."""
    method: Any = getattr(wsgi_async.AsyncioLoopManager, name)
    signature = inspect.signature(method)
    plain = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    bare = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    assert str(bare) == parameters


def test_the_look_ups_signature() -> None:
    """The look-up takes an id and the two flags."""
    parameters = inspect.signature(wsgi_async.get_or_create_loop_manager).parameters
    assert list(parameters)[:3] == ["id", "force_create", "strictly_get"]
    assert [parameters[name].default for name in list(parameters)[:3]] == [None, False, False]


SIDE_EFFECTS = """
import sys
# What we import may do what it likes; here it has done so before.
import asyncio, asyncio.events, atexit, concurrent.futures, concurrent.futures.thread, os, signal
import gc, logging, multiprocessing.util, selectors, socket, threading
before = set(threading.enumerate())
descriptors = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
watched = [threading, threading.Thread, asyncio, asyncio.events, os, signal, socket, selectors,
           asyncio.BaseEventLoop, asyncio.Task, concurrent.futures.Future, logging, sys, atexit]
snapshots = [dict(vars(each)) for each in watched]
hooks = []
register_at_fork, register = os.register_at_fork, atexit.register
os.register_at_fork = lambda **kwargs: (hooks.append(sorted(kwargs)), register_at_fork(**kwargs))
atexit.register = lambda *args: (hooks.append("atexit"), register(*args))[1]
{imported}
os.register_at_fork, atexit.register = register_at_fork, register
changed = []
for each, snapshot in zip(watched, snapshots):
    for name, value in vars(each).items():
        if name in snapshot and snapshot[name] is not value:
            changed.append(getattr(each, "__name__", "") + "." + name)
print(changed)
print(hooks)
print(set(threading.enumerate()) - before)
after = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
print(sorted(after - descriptors))
print([o for o in gc.get_objects() if isinstance(o, asyncio.AbstractEventLoop)])
print(logging.getLogger("wsgi_async").handlers, logging.getLogger("wsgi_async").level)
print([name for name in ("werkzeug", "flask", "gunicorn", "uvloop") if name in sys.modules])
"""


def test_importing_the_core() -> None:
    """The import wraps `Thread.start`, registers a fork hook and an exit hook, and that is all.

    No thread, no loop, no descriptor, no handler for the log, nothing of WSGI.
    """
    code = SIDE_EFFECTS.format(imported=CORE_ALONE)
    changed, hooks, threads, descriptors, loops, log, modules = run_code(code).splitlines()
    assert changed == "['Thread.start']"
    assert hooks == "['atexit', ['after_in_child']]"
    assert (threads, descriptors, loops, log, modules) == ("set()", "[]", "[]", "[] 0", "[]")


# `import wsgi_async.core` would run the package's `__init__` first, which needs werkzeug.
CORE_ALONE = """
import importlib.util, pathlib, types
package = types.ModuleType("wsgi_async")
package.__path__ = importlib.util.find_spec("wsgi_async").submodule_search_locations
sys.modules["wsgi_async"] = package
import wsgi_async.core
"""


def test_thread_start_is_recognisable() -> None:
    """The one function that is replaced keeps its name and documentation."""
    assert threading.Thread.start.__name__ == "start"
    assert inspect.getdoc(threading.Thread.start)
    assert callable(inspect.unwrap(threading.Thread.start))
