"""Plug-ins for other bridges between sync and async code; loaded when those are imported."""
