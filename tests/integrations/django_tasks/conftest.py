"""Django Tasks came with Django 6.0."""

from __future__ import annotations

import pytest

pytest.importorskip("django.tasks", reason="this Django has no tasks: it is older than 6.0")
