"""Stands in for the platform's regression tests."""
