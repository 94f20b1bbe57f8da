"""Stands in for the platform's home page and general data."""
