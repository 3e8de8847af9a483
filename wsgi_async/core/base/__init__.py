"""Threads, time, checks and logging: the base of all other packages."""
