"""Stands in for the platform's continuous integration."""
