"""What a thread waits on: futures, and groups of tasks."""
