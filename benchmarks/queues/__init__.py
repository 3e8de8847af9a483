"""Tasks of queues' workers."""
