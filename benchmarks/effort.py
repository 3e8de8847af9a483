"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How many rounds and calls a run takes; fixed for the whole run.

    Args:
        rounds: rounds of call batches; many and short ones, so that few are interrupted by
            whatever else the machine does.
        fast_calls: calls in a batch for a way that stays in its thread (microseconds).
        slow_calls: the same for one that changes threads or makes a loop (tens and hundreds).
        latency_rounds: rounds in which each call is timed for itself, under neighbours.
        latency_fast: calls in such a round for a way that stays in its thread.
        latency_slow: the same for one that does not.
        pauses: how often a single call is measured, after a pause.
        windows: rounds of the scenario with many threads.
        window: seconds that one contender gets in such a round.
        stream_rounds: rounds in which each way takes a whole stream.
        stream_items: items of such a stream.
        awaits: how often a coroutine asks for a loop resource in one round.
        managers: how many managers rest side by side.
        idle: seconds for which their CPU time is watched.
        request_rounds: rounds of requests through gunicorn.
        request_seconds: whole seconds that one route gets in such a round.
        redis_rounds: rounds of Redis GETs.
        redis_calls: calls in a batch of them.
        beside_rounds: rounds of requests beside CPU-bound ones.
        beside_requests: requests that are timed one by one in such a round.
        first_rounds: how often waitress is started anew, to see first requests.
        event_rounds: rounds of Server-Sent Events through gunicorn.
        events: events that one route sends in such a round.
        queue_tasks: tasks that a queue's worker does in one of `request_rounds` rounds.
    """

    rounds: int
    fast_calls: int
    slow_calls: int
    latency_rounds: int
    latency_fast: int
    latency_slow: int
    pauses: int
    windows: int
    window: float
    stream_rounds: int
    stream_items: int
    awaits: int
    managers: int
    idle: float
    request_rounds: int
    request_seconds: int
    redis_rounds: int
    redis_calls: int
    beside_rounds: int
    beside_requests: int
    first_rounds: int
    event_rounds: int
    events: int
    queue_tasks: int


FULL = Effort(
    rounds=400,
    fast_calls=100,
    slow_calls=20,
    latency_rounds=30,
    latency_fast=60,
    latency_slow=8,
    pauses=100,
    windows=40,
    window=0.1,
    stream_rounds=12,
    stream_items=10_000,
    awaits=10_000,
    managers=100,
    idle=5.0,
    request_rounds=11,
    request_seconds=1,
    redis_rounds=60,
    redis_calls=100,
    beside_rounds=11,
    beside_requests=20,
    first_rounds=11,
    event_rounds=10,
    events=100,
    queue_tasks=40,
)
"""About eight minutes: what the published figures are taken with."""

QUICK = Effort(
    rounds=60,
    fast_calls=100,
    slow_calls=20,
    latency_rounds=4,
    latency_fast=60,
    latency_slow=6,
    pauses=20,
    windows=8,
    window=0.1,
    stream_rounds=3,
    stream_items=2_000,
    awaits=2_000,
    managers=40,
    idle=1.0,
    request_rounds=2,
    request_seconds=1,
    redis_rounds=8,
    redis_calls=100,
    beside_rounds=2,
    beside_requests=5,
    first_rounds=2,
    event_rounds=2,
    events=100,
    queue_tasks=20,
)
"""About two minutes: to see whether a change matters at all."""
