#!/usr/bin/env python
"""Django's commands for the status board: `python django_example/manage.py migrate` and others."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
    execute_from_command_line(sys.argv)
