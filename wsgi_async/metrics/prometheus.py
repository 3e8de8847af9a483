"""The numbers as metrics of prometheus_client, if that is installed.

Plain metrics, not a collector: with several processes, only plain metrics add up.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from .numbers import BUCKETS, HOLDERS, KINDS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .numbers import Event, Gauges

__all__ = ["Prometheus", "is_installed"]


def is_installed() -> bool:
    """Whether prometheus_client can be imported."""
    return find_spec("prometheus_client") is not None


class Prometheus:
    """Sets metrics in a registry. Lives until the metrics are unregistered.

    Args:
        registry: The registry; with None, prometheus_client's own.
        prefix: The prefix of the metrics' names.
    """

    def __init__(self, registry: CollectorRegistry | None, prefix: str) -> None:
        # At its import, the library chooses whether to use files that several processes share.
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram  # noqa: PLC0415

        self._registry = registry = REGISTRY if registry is None else registry

        def gauge(
            name: str,
            text: str,
            labels: tuple[str, ...] = (),
            mode: Literal["livesum", "livemax"] = "livesum",
        ) -> Gauge:
            return Gauge(
                f"{prefix}_{name}",
                text,
                labels,
                registry=registry,
                multiprocess_mode=mode,
            )

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"{prefix}_{name}", text, labels, registry=registry)

        self._managers = gauge("managers", "Managers that run.", ("runner",))
        self._tasks = gauge("tasks_in_flight", "Calls and background tasks that are not done.")
        self._resources = gauge("resources_open", "Loop resources that are open.")
        self._lag = gauge(
            "loop_lag_seconds", "Longest time a loop took to answer, last second.", mode="livemax"
        )
        self._calls = Histogram(
            f"{prefix}_call_seconds",
            "Calls of async code, from the call to its end.",
            ("kind",),
            registry=registry,
            buckets=BUCKETS,
        )
        self._blocked = counter(
            "loop_blocked_seconds", "Seconds in which a loop did not turn.", ("by",)
        )
        self._cut_off = counter("tasks_cut_off", "Tasks that a stop has cut off.", ("name",))
        self._lost = counter("lost_wakeups", "Wake-ups from a wrong thread that came late.")
        self._timeouts = counter("timeouts", "Calls that were canceled when their time was over.")
        self._by_kind = {kind: self._calls.labels(kind) for kind in KINDS}
        for by in HOLDERS:
            self._blocked.labels(by)

    def unregister(self) -> None:
        """Remove the metrics from the registry."""
        for metric in (
            self._managers,
            self._tasks,
            self._resources,
            self._lag,
            self._calls,
            self._blocked,
            self._cut_off,
            self._lost,
            self._timeouts,
        ):
            self._registry.unregister(metric)

    def add(self, event: Event) -> None:
        """Count an event."""
        what, name, seconds = event
        if what == "call":
            self._by_kind[name].observe(seconds)
        elif what == "blocked":
            self._blocked.labels(name).inc(seconds)
        elif what == "cut_off":
            self._cut_off.labels(name).inc()
        elif what == "timeout":
            self._timeouts.inc()
        else:
            self._lost.inc()

    def show(self, gauges: Gauges) -> None:
        """Set the gauges."""
        for runner, count in gauges["managers"].items():
            self._managers.labels(runner).set(count)
        self._tasks.set(gauges["tasks_in_flight"])
        self._resources.set(gauges["resources_open"])
        self._lag.set(gauges["loop_lag_seconds"])
