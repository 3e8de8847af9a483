"""What users hold: managers, found by id and thread, and resources that open once on each loop."""
