"""What is in the database."""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportAssignmentType=false

from __future__ import annotations

from django.db import models


class Fact(models.Model):
    """A row to look for."""

    text = models.CharField(max_length=20)

    def __str__(self) -> str:
        return str(self.text)
