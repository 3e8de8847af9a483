"""`DjangoRoute`: functions with a task type, by a backend of Django Tasks."""

from __future__ import annotations

import pytest

from tests.integrations.django_tasks.scripts import SETUP
from tests.servers.process import run_script

pytest.importorskip("django.tasks", reason="this Django has no tasks: it is older than 6.0")

ROUTES = (
    SETUP
    + """
from wsgi_async.integrations.django.tasks import DjangoRoute, run_routed
from wsgi_async.routing import async_task, set_routes
"""
)


def test_a_function_is_run_by_the_backend() -> None:
    """submit() enqueues the name and the arguments, and returns Django's result."""
    run_script(
        ROUTES
        + """
set_routes({"mail": DjangoRoute()})
result = finished(site.routed.submit(3, plus=1))
assert result.return_value == [7, id(process_manager().get_event_loop()), 1]
assert result.args == [site.NAME + ".routed", [3], {"plus": 1}]
set_routes({"mail": DjangoRoute("immediate")})
assert repr(DjangoRoute("immediate")) == "DjangoRoute('immediate')"
assert site.routed.submit(4).return_value[0] == 8
"""
    )


def test_what_a_queue_cannot_carry_is_refused() -> None:
    """Wrong or unwritable arguments, and functions without an importable name."""
    run_script(
        ROUTES
        + """
set_routes({"mail": DjangoRoute()})
for args in ((), (object(),)):
    try:
        site.routed.submit(*args)
    except TypeError:
        pass
    else:
        raise AssertionError
try:
    @async_task("mail")
    async def here(): ...
except ValueError as error:
    assert "cannot import __main__.here" in str(error)
else:
    raise AssertionError
"""
    )


def test_only_async_tasks_are_run_by_name() -> None:
    """Whoever can write into the queue cannot have any other function called."""
    run_script(
        ROUTES
        + """
import logging
logging.getLogger("django.tasks").disabled = True
result = finished(run_routed.enqueue(site.NAME + ".not_a_task", [], {}))
assert "not an async task" in result.errors[0].traceback
"""
    )
