"""A worker of django-tasks-rq, with `wsgi_async.integrations.django` among the apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import needed
from tests.servers.process import run_script

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("django.tasks", reason="this Django has no tasks: it is older than 6.0")
pytest.importorskip("rq_scheduler", reason="django-tasks-rq is not installed")

SCRIPT = """
import os
os.environ.update(REDIS_URL={url!r}, QUEUED="rq")
from tests.integrations.django_tasks import site
from django.core.management import call_command
from wsgi_async.integrations.django.tasks import DjangoRoute
from wsgi_async.routing import set_routes
set_routes({{"mail": DjangoRoute()}})
results = [site.look.enqueue(), site.look.enqueue(), site.routed.submit(3, plus=1)]
call_command(
    "rqworker", burst=True, worker_class="rq.SimpleWorker", job_class="django_tasks_rq.Job",
    verbosity=0,
)
for result in results:
    result.refresh()
one, two, routed = (result.return_value for result in results)
"""


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A real Redis."""
    with needed.redis_url() as url:
        yield url


def test_a_simple_worker_keeps_one_loop(redis_url: str) -> None:
    """Its async tasks share one loop and what is open on it, and routed functions do too."""
    run_script(
        SCRIPT.format(url=redis_url)
        + """
assert one == two and one[1] == 1, (one, two)
assert routed == [7, one[0], 1], routed
""",
        silent=False,
    )
