"""What is in the database."""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import time

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver


class Fact(models.Model):
    """A row to look for."""

    text = models.CharField(max_length=20)

    def __str__(self) -> str:
        return str(self.text)


class Pause(models.Func):
    """Take so many milliseconds in the database, while the thread waits without the GIL."""

    function = "pause"
    output_field = models.IntegerField()


@receiver(connection_created)
def add_pause(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Have SQLite wait as a database server on another machine has a thread wait."""

    def pause(milliseconds: int) -> int:
        time.sleep(milliseconds / 1000)
        return 1

    connection.connection.create_function("pause", 1, pause)
