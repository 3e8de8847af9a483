"""The one table."""

from django.db import models


class Entry(models.Model):
    """A line that a view has written."""

    text = models.CharField(max_length=100)

    class Meta:
        app_label = "project"
