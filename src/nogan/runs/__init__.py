"""What a run leaves on disk, and the one place that reads and writes it."""
