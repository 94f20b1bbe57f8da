"""Tests of the API, from its parts to its contract."""
