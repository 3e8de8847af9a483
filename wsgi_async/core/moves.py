"""What the baton answers: what a thread that asked for it, or gave it back, does next."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Closing", "KeeperMove", "Leaving", "Nested", "Verdict"]


class Closing(Exception):
    """The manager is being stopped: the job was not taken, and nothing was started."""


class Verdict(Enum):
    """What a caller does next with its job."""

    DRIVE = auto()  # it has the baton
    CLAIM = auto()  # it waits for the baton, which the keeper is asked to give back
    QUEUE = auto()  # it waits for whoever drives


class Nested(Enum):
    """What a thread does that calls again while it drives."""

    DRIVE = auto()
    DRIVE_IN_PAUSE = auto()  # from a sync function, which goes on outside of the loop after it
    REFUSED = auto()  # it does not drive any more: as any other caller


class Leaving(Enum):
    """Whom a caller that has given the baton back tells."""

    QUIETLY = auto()  # nobody: the next one has been woken, or the timer is armed
    TO_KEEPER = auto()  # there is work left
    TO_TIMER = auto()  # it has to be armed


class KeeperMove(Enum):
    """What the keeper does next."""

    DRIVE = auto()  # it has the baton
    CLOSE = auto()  # it has the baton, for the last time
    WATCH = auto()  # nobody drives: wait until something of the loop's is ready
    PARK = auto()  # somebody else drives, or will: wait to be woken
