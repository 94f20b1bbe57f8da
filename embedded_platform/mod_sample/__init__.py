"""Stands in for the platform's samples."""
