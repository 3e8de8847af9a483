"""Answer a reader: send one snapshot as JSON, and end the connection."""

from __future__ import annotations

import json
import socket

from wsgi_async.insight.snapshot import take_snapshot

__all__ = ["answer"]

_SENDING = 10.0
"""Seconds that a reader has to take the answer."""


def answer(connection: socket.socket) -> None:
    """Send a snapshot of this process. From any thread except one that runs a loop.

    If the snapshot fails, the error is the answer. A reader that has left does no harm.
    """
    try:
        connection.settimeout(_SENDING)
        connection.sendall(_snapshot())
        # Closing is not enough: a process that is forked meanwhile holds the connection, too.
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _snapshot() -> bytes:
    try:
        return json.dumps(take_snapshot()).encode()
    except Exception as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
