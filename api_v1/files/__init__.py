"""The evidence: stores of files, outputs and their diffs, artifacts, logs."""
