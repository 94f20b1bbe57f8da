"""What it means: errors of tests, infrastructure errors, the history of a sample."""
