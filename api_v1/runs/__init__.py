"""What happened: runs, their results, their configuration, and what waits."""
