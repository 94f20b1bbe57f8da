"""Tests that hold the generated document, and every answer, to the contract."""
