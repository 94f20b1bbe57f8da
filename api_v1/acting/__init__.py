"""What changes something: starting runs, approving baselines, and the log of who did it."""
