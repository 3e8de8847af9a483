"""Threads and the threads that started them: the lineage in which managers are looked up.

Each thread has a node, made by the thread that starts it. The nodes hold the threads' managers.
The keys are nodes instead of idents, because a later thread may reuse an ident. The import wraps
`threading.Thread.start`, once. A thread that was started before, or without `threading`, is a
root.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from .primitives import new_mutex, start_thread

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from contextlib import AbstractContextManager

__all__ = [
    "Owned",
    "ThreadNode",
    "checked_thread",
    "current_node",
    "get_parent_thread",
    "lock",
    "node_of",
    "reset",
    "watch_end",
    "wrap_thread_start",
]

_ATTRIBUTE = "_wsgi_async_node"
_WRAPPED = "_wsgi_async_wrapped"


class Owned(Protocol):
    """What a node owns: a manager's lifecycle, as the lineage sees it."""

    def owner_ended(self) -> None:
        """React to the end of the owner thread. Takes no lock, and does not block."""


class ThreadNode:
    """One thread in its lineage. Lives as long as the thread, its managers or its children.

    `lock` guards `parent` and `owned`, but not `found`: a look-up there compares users' ids, which
    runs user code. Single operations on a dict are thread-safe.
    """

    def __init__(self, parent: ThreadNode | None, thread: threading.Thread | None) -> None:
        self.parent = parent
        self.thread = None if thread is None else weakref.ref(thread)
        self.started_by = None if parent is None else parent.thread
        self.ident: int | None = None if thread is None else thread.ident
        self.ended = False  # set by the thread itself, or by the thread that joins it
        self.watched = False  # the thread's end will set `ended`
        self.found: dict[Hashable, Any] = {}  # the managers that look-ups find, by id
        self.owned: dict[Owned, None] = {}  # started managers, which stop with the thread
        self.generation = _state.generation

    def line(self) -> Iterator[ThreadNode]:
        """This node and its ancestors up to the root. The caller holds `lock`.

        Ended nodes without managers are removed on the way. Otherwise a series of threads, each of
        which starts the next one and ends, would make an endless chain.
        """
        node: ThreadNode | None = self
        while node is not None:
            yield node
            while (parent := node.parent) is not None and parent.ended and not parent.owned:
                node.parent = parent.parent
            node = parent

    def forget(self, id: Hashable, manager: object) -> None:
        """Remove a manager, so that look-ups no longer find it."""
        if self.found.get(id) is manager:
            found = self.found.pop(id, None)
            if found is not None and found is not manager:
                # The node's thread has just made a new manager: put it back.
                self.found.setdefault(id, found)  # pragma: no cover - a race

    def end(self) -> None:
        """Tell the thread's managers that the thread is ending, once. Takes no lock."""
        if self.ended:
            return  # the guard came first: its thread can be joined after that only
        self.ended = True
        for life in list(self.owned):
            life.owner_ended()


class _Guard:
    """Is held by a thread-local, so that its destructor runs in the dying thread.

    There, `current_thread()`, logging, joining and locks are all unsafe. So the destructor only
    notifies the node. (`weakref.finalize` on the Thread would not work: a ThreadPoolExecutor keeps
    its threads.)
    """

    def __init__(self, node: ThreadNode) -> None:
        self.node = node
        self.pid = os.getpid()

    def __del__(self, getpid: Any = os.getpid) -> None:
        # In a forked child the interpreter clears the other threads' locals before any fork hook
        # runs. Those threads still run in the parent, which shares their loops' sockets with us.
        if getpid() == self.pid:
            self.node.end()


class _State:
    """The state that a forked child replaces with a new one."""

    def __init__(self) -> None:
        self.generation = object()  # other generations' nodes belong to the parent process
        self.local = threading.local()
        # The thread that holds it can take it again: a destructor may look up or forget a manager.
        self.lock = new_mutex()


_state = _State()


def lock() -> AbstractContextManager[Any]:
    """The lock that guards all nodes."""
    return _state.lock


def current_node() -> ThreadNode:
    """The calling thread's node. From now on the node notices the thread's end."""
    try:
        return _state.local.guard.node  # type: ignore[no-any-return]
    except AttributeError:
        return _enter_thread()


def _enter_thread() -> ThreadNode:
    ident = threading.get_ident()
    # Not current_thread(): it makes a dummy in a thread that `threading` does not know.
    thread = next((t for t in threading.enumerate() if t.ident == ident), None)
    node = ThreadNode(None, None) if thread is None else node_of(thread)
    if (  # pragma: no cover - Python 3.11 only
        thread is not None and node.ended and thread.native_id != threading.get_native_id()
    ):
        # Up to Python 3.11, `threading` goes on listing a thread that it has not started, after its
        # end. This thread has the same ident.
        del thread.__dict__[_ATTRIBUTE]
        node = node_of(thread)
    node.ident = ident
    node.watched = True
    _state.local.guard = _Guard(node)
    return node


def node_of(thread: threading.Thread) -> ThreadNode:
    """A thread's node. It is made now if the thread was started before the import."""
    with _state.lock:
        node = _known_node(thread)
        if node is None:
            node = ThreadNode(None, thread)
            thread.__dict__[_ATTRIBUTE] = node
        return node


def _known_node(thread: threading.Thread) -> ThreadNode | None:
    """The node of a thread, if it has one that is not the parent process's."""
    node: ThreadNode | None = thread.__dict__.get(_ATTRIBUTE)
    return None if node is None or node.generation is not _state.generation else node


def get_parent_thread(thread: threading.Thread | None = None) -> threading.Thread | None:
    """Return the thread that started a thread. From any thread.

    Args:
        thread: The thread in question; the current one with None.

    Returns:
        Its parent, ended or not; None for a root, and for a parent that is gone from memory.

    Raises:
        TypeError: It is not a thread.
    """
    if thread is None:
        node: ThreadNode | None = current_node()
    else:
        # Do not make a node: a thread that is not started yet would never get its parent.
        node = _known_node(checked_thread(thread))
    return None if node is None or node.started_by is None else node.started_by()


def checked_thread(value: object, name: str = "thread") -> threading.Thread:
    """Return the value, which comes from a user, if it is a thread.

    Raises:
        TypeError: It is not a thread.
    """
    if not isinstance(value, threading.Thread):
        raise TypeError(f"{name} is {value!r}. Give a threading.Thread, or nothing.")
    return value


def watch_end(thread: threading.Thread, node: ThreadNode) -> None:
    """Notice the end of a thread by joining it, since it may never call `current_node()` itself.

    Raises:
        RuntimeError: The process cannot start another thread.
    """
    with _state.lock:
        if node.watched or thread is threading.main_thread():
            return  # noticed already, or at the process's exit
        node.watched = True

    def join() -> None:
        thread.join()
        node.end()

    try:
        start_thread(join, f"wsgi_async join {thread.name}")
    except BaseException:
        with _state.lock:
            node.watched = False  # the next call tries again
        raise


def wrap_thread_start() -> None:
    """Record at each `Thread.start()` which thread calls it. A second call changes nothing."""
    original = threading.Thread.start
    if hasattr(threading.Thread, _WRAPPED):
        return

    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        if _ATTRIBUTE not in self.__dict__:
            parent = current_node()
            with _state.lock:
                list(parent.line())  # removes ended ancestors, so that the chain does not grow
                self.__dict__[_ATTRIBUTE] = ThreadNode(parent, self)
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    setattr(threading.Thread, _WRAPPED, True)


def reset() -> None:
    """In a forked child: forget all threads and their managers, and every lock."""
    global _state  # noqa: PLW0603 - all of it at once, so that none is forgotten
    _state = _State()
