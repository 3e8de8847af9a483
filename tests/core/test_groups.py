"""Groups of jobs: the moments at which a job comes in while the group ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import LIMIT, Endless, Worker, give, on_worker, outcome, reached, wait_until
from wsgi_async import loop_resource
from wsgi_async.core.managers.manager import lifecycle_of, submit_to_group
from wsgi_async.core.results.groups import Ended, JobGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager, SyncFuture
    from wsgi_async.core.runners.runner import Runner


def submit(manager: AsyncioLoopManager, coro: Any, group: JobGroup) -> SyncFuture[Any]:
    return submit_to_group(manager, coro, None, group)


def runner_of(manager: AsyncioLoopManager) -> Runner:
    runner = lifecycle_of(manager).runner
    assert runner is not None
    return runner


@on_worker
def test_a_job_that_is_on_its_way_in_is_ended_too(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that submits as another one ends the request leaves no task behind."""
    manager = make_manager()
    group = JobGroup(runner_of(manager))
    live = runner_of(manager).live
    ending: list[Any] = []

    with Worker() as other:
        real = live.submit

        def overtaken(job: Any) -> None:
            # The group has taken the job in, and ends before the loop knows of it.
            ending.append(other.begin(group.end))
            wait_until(lambda: group._ended, "the group ends")
            real(job)

        monkeypatch.setattr(live, "submit", overtaken)
        work = Endless()
        future = submit(manager, work.wait(), group)
        monkeypatch.undo()
        outcome(ending[0])
    assert future.cancelled()
    assert manager.run(give("goes on"), timeout=LIMIT) == "goes on"
    assert not live.in_flight()


@on_worker
def test_a_submit_that_is_interrupted(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal handler raises goes on, and the task is canceled and leaves its group."""
    manager = make_manager()
    group = JobGroup(runner_of(manager))
    live = runner_of(manager).live
    real, work = live.submit, Endless()

    def interrupted(job: Any) -> None:
        real(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(manager, work.wait(), group)
    monkeypatch.undo()
    group.end()
    assert group.done
    assert work.began.is_set() == work.cleaned.is_set()
    assert manager.run(give("goes on"), timeout=LIMIT) == "goes on"
    assert not live.in_flight()


@on_worker
def test_many_threads_submit_while_it_ends(make_manager: MakeManager) -> None:
    """Whatever was taken has ended when `end()` returns, and the rest was refused."""
    manager = make_manager()
    for _ in range(30):
        group = JobGroup(runner_of(manager))
        line = threading.Barrier(4)
        futures: list[Any] = []

        def keep_submitting(
            line: threading.Barrier = line,
            group: JobGroup = group,
            futures: list[Any] = futures,
        ) -> None:
            line.wait(LIMIT)
            for _ in range(20):
                try:
                    futures.append(submit(manager, Endless().wait(), group))
                except Ended:
                    return

        workers = [Worker(f"submitter {number}") for number in range(3)]
        begun = [worker.begin(keep_submitting) for worker in workers]
        line.wait(LIMIT)
        group.end()
        for one, worker in zip(begun, workers, strict=True):
            outcome(one)
            worker.end()
        assert all(future.cancelled() for future in futures)
    assert not runner_of(manager).live.in_flight()


@on_worker
def test_a_job_that_is_done_is_kept_no_longer(make_manager: MakeManager) -> None:
    """A long stream may submit many small tasks; none of them stays in memory."""
    manager = make_manager()
    group = JobGroup(runner_of(manager))
    for _ in range(3):
        assert submit(manager, give("page"), group).result(LIMIT) == "page"
    wait_until(lambda: not group._jobs, "the jobs are out")
    work = Endless()
    submit(manager, work.wait(), group)
    reached(work.began)
    assert len(group._jobs) == 1
    group.end()
    assert not group._jobs
    group.end()  # again does nothing


@on_worker
def test_a_group_that_is_done_is_not_waited_for(make_manager: MakeManager) -> None:
    """The end of a request whose tasks have all ended returns at once on the loop."""
    manager = make_manager()
    group = JobGroup(runner_of(manager))
    assert submit(manager, give(1), group).result(LIMIT) == 1
    group.end()
    manager.run(group.wait_on_loop(), timeout=LIMIT)
    assert group.done


@on_worker
def test_a_resource_that_submits_to_a_group(make_manager: MakeManager) -> None:
    """What a resource has submitted runs until the resource is closed, also in a group."""
    manager = make_manager()
    group = JobGroup(runner_of(manager))
    done_at_the_end: list[bool] = []

    @loop_resource
    async def client() -> AsyncIterator[None]:
        future = submit(manager, Endless().wait(), group)
        yield
        done_at_the_end.append(future.done())

    async def use() -> None:
        await client()

    manager.run(use(), timeout=LIMIT)
    # This thread waits for that one, and runs the loop meanwhile if the loop lives here.
    with Worker() as other:
        outcome(other.begin(manager.stop, LIMIT))
    assert done_at_the_end == [False]
    assert group.done
