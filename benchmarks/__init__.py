"""Measurements of the API against a database of production size."""
