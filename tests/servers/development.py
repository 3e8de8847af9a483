"""Serves an application with Werkzeug's development server: `python -m ... module:name`."""

from __future__ import annotations

import importlib
import sys

from werkzeug.serving import run_simple

if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), name)
    run_simple("127.0.0.1", 0, app, threaded=True)
