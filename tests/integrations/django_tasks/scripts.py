"""What the scripts of the tests begin with."""

SETUP = """
import asyncio, threading
from tests.integrations.django_tasks import site
from django.tasks import TaskResultStatus, task_backends, default_task_backend
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from wsgi_async import run
from wsgi_async.routing.managers import process_manager
from tests.servers.process import wait_until

def finished(result):
    def look():
        result.refresh()
        return result.is_finished
    wait_until(look, what="the end of a task")
    return result
"""
