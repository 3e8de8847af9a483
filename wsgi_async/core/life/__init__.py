"""A manager's life, from its start to its closed loop."""
