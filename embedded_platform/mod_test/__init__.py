"""Stands in for the platform's runs."""
