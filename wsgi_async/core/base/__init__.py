"""Threads, time, checks and errors: what everything else stands on."""
