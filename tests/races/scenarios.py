"""What the threads do whose orders are tried. Each function makes the threads of one world."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World


def run_twice(world: World) -> None:
    """The owner and a second thread call run()."""
    manager = world.start()
    world.thread("owner", lambda: world.expect(manager.run(world.steps("first")), "first"))
    world.thread("other", lambda: world.expect(manager.run(world.steps("second")), "second"))


def submit(world: World) -> None:
    """A thread submits work and waits for it. Needs a started manager."""

    def submitter() -> None:
        future = world.manager.submit_task(world.steps("submitted"))
        world.expect(world.wait(future), "submitted")

    world.thread("submitter", submitter)


def run_beside_submitter(world: World) -> None:
    """The owner calls run(), another thread submits."""
    manager = world.start()
    world.thread("owner", lambda: world.expect(manager.run(world.steps("1")), "1"))
    submit(world)
