"""Numbers about the event loops: for Prometheus, and as a plain dictionary.

`start_metrics()` starts to count, once, where your app is made. `read()` returns what was counted.
"""

from .measuring import Metrics, read, start_metrics
from .numbers import Calls, Numbers

__all__ = ["Calls", "Metrics", "Numbers", "read", "start_metrics"]
