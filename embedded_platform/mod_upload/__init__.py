"""Stands in for the platform's uploads."""
