"""What runs a loop: a thread of its own, or the worker thread that it is for."""
