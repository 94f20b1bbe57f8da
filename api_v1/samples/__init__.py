"""What is tested: media samples and regression tests."""
