"""Stands in for the platform's accounts."""
