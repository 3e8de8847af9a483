"""What a thread waits for: futures, and groups of jobs."""
