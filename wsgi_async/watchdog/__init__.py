"""Reports event loops that are blocked and calls that wait too long, while they are.

`start_watchdog()` starts it, once, where your app is made::

    from wsgi_async.watchdog import start_watchdog

    start_watchdog(blocked_after=0.5, run_longer_than=30)
"""

from wsgi_async.insight.stacks import Frame

from .reports import Kind, Report
from .watching import Watchdog, start_watchdog

__all__ = ["Frame", "Kind", "Report", "Watchdog", "start_watchdog"]
