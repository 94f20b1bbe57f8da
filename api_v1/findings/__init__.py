"""What it means: whose fault a failure is, how a test fares over time, what fails alike, and why a run ended."""
