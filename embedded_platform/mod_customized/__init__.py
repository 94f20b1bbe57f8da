"""Stands in for the platform's custom runs."""
