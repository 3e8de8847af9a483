"""Tasks that serve many calls: streams, and context managers."""
